"""Whatever settings are in effect: written as JSON, TOML, flags or environment they read back as the same."""

import json
import tomllib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from smoothserve.errors import SettingsError
from smoothserve.settings import TABLE, Settings, changed_needing_restart, keep_needing_restart
from smoothserve.settings.checks import FORWARDED_HEADERS
from smoothserve.settings.kinds import Choice, Kind, Seconds, Several, Switch, Text, Whole
from smoothserve.settings.rendering import render_toml
from smoothserve.settings.resolve import Resolved, resolve_settings
from smoothserve.settings.setting import Setting
from smoothserve.settings.sources import checked

#: No deadline for an example: the machine may be busy with other tests.
BRIEFLY = hypothesis.settings(deadline=None, max_examples=50)

WORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
FREE_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20)
PORTS = st.integers(0, 65535)
PROXIES = st.one_of(
    st.sampled_from(["unix:", "*", "10.0.0.0/8"]), st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)
)
TEXTS: dict[str, st.SearchStrategy[str]] = {
    "app": st.builds("{}.{}:{}".format, WORDS, WORDS, WORDS),
    "bind": st.one_of(
        st.builds("{}:{}".format, WORDS, PORTS),
        st.builds("{}:{}".format, st.ip_addresses(v=4), PORTS),
        st.builds("[{}]:{}".format, st.ip_addresses(v=6), PORTS),
        st.builds("unix:/{}".format, WORDS),
        st.builds("fd://{}".format, st.integers(0, 999)),
    ),
    "websocket_handover": st.sampled_from(["off", "attached", "reenter", "reenter:/chat/*"]),
    "access_log_format": st.sampled_from(["common", "combined", "json", "%(h)s %(s)s"]),
    "metrics_bind": st.builds("{}:{}".format, WORDS, PORTS),
    "uds_mode": st.sampled_from(["600", "660", "666", "777"]),
    "umask": st.sampled_from(["000", "022", "077"]),
    "uds_owner": WORDS,
    "uds_group": WORDS,
    "user": WORDS,
    "group": WORDS,
    "health_path": st.builds("/{}".format, WORDS),
    "live_path": st.builds("/{}".format, WORDS),
    "forwarded_headers": st.sampled_from(FORWARDED_HEADERS),
    "forwarded_allow_ips": PROXIES,
    "proxy_allow_from": PROXIES,
    "env": st.builds("{}={}".format, WORDS, FREE_TEXT),
    "sni": st.builds("{}.example={}:{}".format, st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), WORDS, WORDS),
    "cert_reqs": st.sampled_from(["none", "optional", "required"]),
    "ciphers": st.sampled_from(["ECDHE+AESGCM", "ALL"]),
    "header": st.builds("X-{}: {}".format, WORDS, VALUES.map(lambda text: text.strip(" \t"))),
    "reload_dir": st.builds("/{}".format, WORDS),
    "reload_include": st.builds("*.{}".format, WORDS),
    "reload_exclude": st.builds("*.{}".format, WORDS),
    "root_path": st.builds("/{}".format, WORDS) | st.just(""),
}
#: Paths begin with a slash here: relative ones are made whole, which the unit tests hold.
PATHS = FREE_TEXT.map(lambda text: "/" + text)


def values_of(name: str, kind: Kind) -> st.SearchStrategy[Any]:
    if isinstance(kind, Switch):
        return st.booleans()
    if isinstance(kind, Whole):
        return st.integers(kind.minimum, kind.maximum)
    if isinstance(kind, Seconds):
        # milliseconds: in text a duration has no exponent
        return st.integers(int(kind.minimum * 1000) + kind.above_minimum, int(kind.maximum * 1000)).map(
            lambda n: n / 1000
        )
    if isinstance(kind, Choice):
        return st.sampled_from(kind.choices)
    if isinstance(kind, Several):
        return st.lists(TEXTS[name], min_size=1, max_size=3, unique=True)
    assert isinstance(kind, Text)
    return TEXTS.get(name, PATHS)


def consistent(values: dict[str, Any]) -> bool:
    settings = Settings(**values)
    return settings.max_request_line_bytes <= settings.max_head_bytes


def with_all_of_tls(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what needs a certificate or authorities where there are none."""
    needing = {"keyfile", "keyfile_password", "sni", "ca_certs", "cert_reqs", "ciphers"}
    left_out = needing if "certfile" not in values else set() if "ca_certs" in values else {"cert_reqs"}
    values = {name: value for name, value in values.items() if name not in left_out}
    if "sni" in values:
        values["sni"] = list({one.partition("=")[0]: one for one in values["sni"]}.values())
    return values


SOME_VALUES = (
    st.fixed_dictionaries({}, optional={one.name: values_of(one.name, one.kind) for one in TABLE})
    .map(with_all_of_tls)
    .filter(consistent)
)


def resolve(flags: dict[str, Any], environ: dict[str, str]) -> Settings:
    return resolve_settings(flags, environ, None, "/nowhere").settings


def expected(values: dict[str, Any]) -> Settings:
    if "access_logfile" in values:
        values = {"access_log": True, **values}
    return Settings(**values)


@BRIEFLY
@given(SOME_VALUES)
def test_settings_survive_json(values: dict[str, Any]) -> None:
    settings = Settings(**values)
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@BRIEFLY
@given(SOME_VALUES)
def test_settings_survive_flags(values: dict[str, Any]) -> None:
    assert resolve(values, {}) == expected(values)


@BRIEFLY
@given(SOME_VALUES)
def test_settings_survive_toml(values: dict[str, Any]) -> None:
    settings = expected(values)
    printed = tomllib.loads(render_toml(Resolved(settings, {}, None)))
    kinds = {setting.name: setting for setting in TABLE}
    read = {name: checked(kinds[name], value, "file", parse=False).value for name, value in printed.items()}
    assert Settings(**read) == replace(settings, keyfile_password=None), "all but what is never shown"


@BRIEFLY
@given(SOME_VALUES)
def test_settings_survive_the_environment(values: dict[str, Any]) -> None:
    given_values = {name: value for name, value in values.items() if value != "" and not _has_line_end(value)}
    environ = {}
    for setting in TABLE:
        if setting.name in given_values:
            value = given_values[setting.name]
            separator = setting.kind.separator if isinstance(setting.kind, Several) else ""
            environ[setting.env] = separator.join(value) if isinstance(value, list) else str(value)
    assert resolve({}, environ) == expected(given_values)


def _has_line_end(value: Any) -> bool:
    # an environment variable separates items with line ends, and blanks around them do not count
    return isinstance(value, list) and any(item != item.strip() or "\n" in item for item in value)


@BRIEFLY
@given(SOME_VALUES, SOME_VALUES)
def test_a_flag_always_comes_before_the_environment(flags: dict[str, Any], weaker: dict[str, Any]) -> None:
    environ = {
        one.env: str(weaker[one.name]) for one in TABLE if isinstance(one.kind, Whole | Choice) and one.name in weaker
    }
    with suppress(SettingsError):  # a long request line and a short head, one from each
        settings = resolve(flags, environ)
        assert {name: getattr(settings, name) for name in flags} == flags


@BRIEFLY
@given(SOME_VALUES, SOME_VALUES)
def test_after_a_reload_nothing_needs_a_restart_any_more(old: dict[str, Any], new: dict[str, Any]) -> None:
    before, after = Settings(**old), Settings(**new)
    kept = keep_needing_restart(before, after)
    assert changed_needing_restart(before, kept) == []
    changed = set(changed_needing_restart(before, after))
    for setting in TABLE:
        source = before if setting.name in changed else after
        assert getattr(kept, setting.name) == getattr(source, setting.name)


@BRIEFLY
@given(st.sampled_from(TABLE), st.text(max_size=30))
def test_any_text_is_taken_or_refused_in_one_line_that_names_its_origin(setting: Setting, text: str) -> None:
    said = ""
    try:
        taken = checked(setting, text, "flag --x", parse=True).value
    except SettingsError as error:
        said = str(error)
    else:
        assert setting.kind.check(taken) == taken
    assert said.startswith("flag --x: ") or not said
    assert said.isprintable()
