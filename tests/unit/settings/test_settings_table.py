"""The table: every setting is declared once and well, survives a round trip, and says whether a reload changes it."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from smoothserve.settings import TABLE, Settings, changed_needing_restart, keep_needing_restart
from smoothserve.settings.kinds import Switch
from smoothserve.settings.setting import Setting
from smoothserve.settings.table import BIND_PARTS, GROUPS

EVERY = (*TABLE, *BIND_PARTS)


def test_the_defaults_are_those_of_the_design() -> None:
    settings = Settings()
    assert settings.bind == ["127.0.0.1:8000"]
    assert (settings.workers, settings.threads, settings.backlog) == (1, 1, 2048)
    assert (settings.access_log, settings.lifespan, settings.asgi_spec_version) == (False, "auto", "2.3")
    assert (settings.max_request_line_bytes, settings.max_header_fields, settings.max_head_bytes) == (8190, 100, 65536)
    assert (settings.keep_alive_timeout, settings.head_timeout) == (75.0, 60.0)
    assert (settings.body_timeout, settings.write_timeout, settings.min_body_rate) == (60.0, 60.0, 0)
    assert (settings.max_body_bytes, settings.max_connection_requests, settings.max_connections) == (0, 0, 0)
    assert settings.forwarded_headers == ["x-forwarded-for", "x-forwarded-proto"]
    assert settings.forwarded_allow_ips == settings.proxy_allow_from == ["127.0.0.1", "::1", "unix:"]
    assert (settings.proxy_headers, settings.proxy_protocol) == (True, "off")
    assert (settings.max_concurrent_requests, settings.max_queued_requests) == (0, -1)
    assert (settings.graceful_timeout, settings.drain_timeout) == (30.0, 300.0)
    assert (settings.kill_timeout, settings.boot_timeout) == (5.0, 60.0)
    assert (settings.soak_interval, settings.linger_timeout, settings.max_draining) == (0.5, 10.0, 2)
    assert (settings.access_logfile, settings.error_logfile) == ("-", "-")


def test_settings_cannot_be_changed_and_share_no_list() -> None:
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.workers = 2  # type: ignore[misc]  # that is the test
    assert settings.bind is not Settings().bind


def test_the_table_has_each_field_once_in_order() -> None:
    assert [setting.name for setting in TABLE] == [field.name for field in fields(Settings)]


def test_no_two_settings_share_a_flag_or_a_variable() -> None:
    flags = [flag for setting in EVERY for flag in (*setting.flags, *setting.off_flags)]
    variables = [setting.env for setting in EVERY if setting.env]
    assert len(flags) == len(set(flags))
    assert len(variables) == len(set(variables))


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
def test_each_setting_is_declared_well(setting: Setting) -> None:
    assert setting.group in GROUPS
    assert setting.help.endswith(".")
    assert setting.kind.allowed
    assert setting.kind.metavar or isinstance(setting.kind, Switch)
    if setting.default not in (None, ""):
        assert setting.kind.check(setting.default) == setting.default


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("-w", "workers"),
        ("-b", "bind"),
        ("-e", "env"),
        ("-p", "pid_file"),
        ("--pid", "pid_file"),
        ("--keep-alive", "keep_alive_timeout"),
        ("--timeout-keep-alive", "keep_alive_timeout"),
        ("--timeout-graceful-shutdown", "graceful_timeout"),
        ("--graceful-timeout", "graceful_timeout"),
        ("--log-file", "error_logfile"),
        ("--limit-request-line", "max_request_line_bytes"),
        ("--limit-request-fields", "max_header_fields"),
        ("--limit-concurrency", "max_concurrent_requests"),
        ("--worker-connections", "max_connections"),
        ("-m", "umask"),
        ("--forwarded-allow-ips", "forwarded_allow_ips"),
        ("--proxy-headers", "proxy_headers"),
        ("--no-proxy-headers", "proxy_headers"),
        ("--proxy-protocol", "proxy_protocol"),
        ("--proxy-allow-from", "proxy_allow_from"),
        ("--no-server-header", "server_header"),
        ("--no-access-log", "access_log"),
    ],
)
def test_flags_of_gunicorn_and_uvicorn_are_known(flag: str, name: str) -> None:
    assert [one.name for one in EVERY if flag in (*one.flags, *one.off_flags)] == [name]


def test_settings_survive_a_round_trip_through_json() -> None:
    settings = Settings(app="a:b", bind=["a:1", "unix:/x"], header=["A: b"], chdir="/x", access_log=True)
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_settings_of_another_version_are_read_as_far_as_they_are_known() -> None:
    assert Settings.from_dict({"workers": 3, "of_a_later_version": {}}) == Settings(workers=3)


def test_what_a_reload_cannot_change_is_named_and_kept() -> None:
    old = Settings(app="a:b")
    new = replace(old, app="c:d", workers=4, bind=["127.0.0.1:9"], pid_file="/run/x", chdir="/srv")
    assert changed_needing_restart(old, new) == ["bind", "pid_file"]
    assert keep_needing_restart(old, new) == replace(new, bind=old.bind, pid_file=None)
    assert changed_needing_restart(old, keep_needing_restart(old, new)) == []


def test_only_what_the_master_holds_for_life_needs_a_restart() -> None:
    names = {setting.name for setting in TABLE if not setting.reloadable}
    assert names == {
        "bind",
        "uds_mode",
        "uds_owner",
        "uds_group",
        "backlog",
        "user",
        "group",
        "pid_file",
        "control_socket",
        "metrics_bind",
        "error_logfile",
        "reload",
        "reload_dir",
        "reload_include",
        "reload_exclude",
    }


def test_settings_import_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import smoothserve.settings, smoothserve.control.interpreter\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert printed.split() == ["smoothserve"]
