"""From the sources to the settings: precedence, the parts of an address, what settings mean together, whole paths."""

from pathlib import Path
from typing import Any

import pytest

from smoothserve.errors import SettingsError
from smoothserve.net.certificates import CertificateFiles
from smoothserve.settings import Settings
from smoothserve.settings.certificates import tls_options
from smoothserve.settings.resolve import Resolved, load_settings, resolve_settings

HERE = "/srv/current"


def resolve(flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> Resolved:
    return resolve_settings(flags or {}, environ or {}, None, HERE)


def refusal(flags: dict[str, Any], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        resolve(flags, environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_is_all_defaults() -> None:
    resolved = resolve()
    assert resolved.settings == Settings()
    assert set(resolved.origins.values()) == {"default"}
    assert resolved.config is None


def test_a_flag_comes_before_the_environment_before_the_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("workers = 3\nthreads = 3\nbacklog = 3\n")
    environ = {"SMOOTHSERVE_WORKERS": "2", "SMOOTHSERVE_THREADS": "2", "WEB_CONCURRENCY": "9"}
    resolved = resolve_settings({"workers": "1"}, environ, "x.toml", str(tmp_path))
    settings = resolved.settings
    assert (settings.workers, settings.threads, settings.backlog, settings.max_draining) == (1, 2, 3, 2)
    assert [resolved.origins[name] for name in ("workers", "threads", "backlog", "max_draining")] == [
        "flag --workers",
        "environment variable SMOOTHSERVE_THREADS",
        f'key "backlog" in {file}',
        "default",
    ]
    assert resolved.config == str(file)


def test_a_list_takes_the_place_of_the_weaker_one() -> None:
    assert resolve({"env": ["A=1"]}, {"SMOOTHSERVE_ENV": "B=2"}).settings.env == ["A=1"]


def test_web_concurrency_is_the_default_of_workers() -> None:
    resolved = resolve({}, {"WEB_CONCURRENCY": "4"})
    assert (resolved.settings.workers, resolved.origins["workers"]) == (4, "environment variable WEB_CONCURRENCY")
    assert resolve({"workers": 2}, {"WEB_CONCURRENCY": "4"}).settings.workers == 2
    assert resolve({}, {"WEB_CONCURRENCY": ""}).settings.workers == 1
    assert refusal({}, {"WEB_CONCURRENCY": "many"}).startswith('environment variable WEB_CONCURRENCY: "many" is not')


def test_port_makes_the_default_address_a_public_one() -> None:
    assert resolve({}, {"PORT": "5000"}).settings.bind == ["0.0.0.0:5000"]
    assert resolve({"bind": ["127.0.0.1:1"]}, {"PORT": "5000"}).settings.bind == ["127.0.0.1:1"]
    assert resolve({}, {"PORT": ""}).settings.bind == ["127.0.0.1:8000"]
    assert refusal({}, {"PORT": "http"}) == 'environment variable PORT: "http" is not a port from 0 to 65535'


def test_a_bad_variable_of_others_matters_only_where_it_is_needed() -> None:
    assert resolve({"workers": 1, "bind": ["a:1"]}, {"PORT": "x", "WEB_CONCURRENCY": "x"}).settings.bind == ["a:1"]


@pytest.mark.parametrize(
    ("flags", "environ", "bind"),
    [
        ({"host": "::1", "port": "80"}, {}, "[::1]:80"),
        ({"host": "0.0.0.0"}, {}, "0.0.0.0:8000"),
        ({"port": "9000"}, {}, "127.0.0.1:9000"),
        ({"port": 0}, {}, "127.0.0.1:0"),
        ({"host": "10.0.0.1"}, {"PORT": "5000"}, "10.0.0.1:5000"),
        ({"port": "9000"}, {"PORT": "5000"}, "0.0.0.0:9000"),
        ({"host": "a", "port": "9000"}, {"PORT": "x"}, "a:9000"),
        ({"uds": "/run/x"}, {"PORT": "5000"}, "unix:/run/x"),
        ({"fd": "3"}, {}, "fd://3"),
        ({"port": "9000"}, {"SMOOTHSERVE_BIND": "a:1"}, "127.0.0.1:9000"),
    ],
)
def test_host_port_uds_and_fd_become_an_address(flags: dict[str, Any], environ: dict[str, str], bind: str) -> None:
    assert resolve(flags, environ).settings.bind == [bind]


def test_the_origin_of_an_address_in_parts_names_them() -> None:
    assert resolve({"port": "1", "host": "a"}).origins["bind"] == "flag --host and flag --port"


@pytest.mark.parametrize("other", [{"host": "a"}, {"port": "1"}, {"uds": "/x"}, {"fd": "3"}])
def test_a_part_of_an_address_does_not_go_together_with_bind(other: dict[str, Any]) -> None:
    assert "not together with --bind" in refusal({"bind": ["a:1"], **other})


@pytest.mark.parametrize("flags", [{"uds": "/x", "port": "1"}, {"uds": "/x", "fd": "3"}, {"fd": "3", "host": "a"}])
def test_parts_that_name_different_sockets_do_not_go_together(flags: dict[str, Any]) -> None:
    assert "name different sockets" in refusal(flags)


def test_a_file_for_the_access_log_turns_it_on() -> None:
    resolved = resolve({"access_logfile": "-"})
    assert resolved.settings.access_log
    assert resolved.origins["access_log"] == "flag --access-logfile"


@pytest.mark.parametrize(
    ("flags", "environ", "on"),
    [
        ({"access_logfile": "x", "access_log": False}, {}, False),
        ({"access_log": False}, {"SMOOTHSERVE_ACCESS_LOGFILE": "x"}, False),
        ({"access_logfile": "x"}, {"SMOOTHSERVE_ACCESS_LOG": "off"}, True),
        ({}, {"SMOOTHSERVE_ACCESS_LOGFILE": "x"}, True),
        ({"access_log": True}, {}, True),
    ],
)
def test_the_access_log_is_off_where_a_source_as_strong_says_so(
    flags: dict[str, Any], environ: dict[str, str], on: bool
) -> None:
    assert resolve(flags, environ).settings.access_log is on


def test_a_request_line_longer_than_the_head_is_refused() -> None:
    assert "max_head_bytes (65536)" in refusal({"max_request_line_bytes": "70000"})
    assert resolve({"max_request_line_bytes": "70000", "max_head_bytes": "80000"}).settings.max_head_bytes == 80000
    assert resolve({"max_head_bytes": "1024"}).settings.max_request_line_bytes == 8190


def test_paths_for_the_servers_whole_life_are_made_whole_with_links_unresolved() -> None:
    flags = {"bind": ["unix:run/x", "a:1"], "pid_file": "x.pid", "error_logfile": "e.log", "access_logfile": "/a.log"}
    settings = resolve({**flags, "chdir": "sub"}).settings
    assert settings.bind == [f"unix:{HERE}/sub/run/x", "a:1"]
    assert (settings.pid_file, settings.error_logfile) == (f"{HERE}/sub/x.pid", f"{HERE}/sub/e.log")
    assert settings.access_logfile == "/a.log"


def test_paths_that_each_spawn_resolves_stay_as_typed() -> None:
    flags = {"chdir": "sub", "app_dir": "src", "env_file": ".env", "python": "venv/bin/python"}
    settings = resolve(flags).settings
    assert {name: getattr(settings, name) for name in flags} == flags


def test_a_project_file_in_the_directory_is_found_and_one_in_chdir_too(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.smoothserve]\nworkers = 2\nchdir = 'sub'\n")
    (tmp_path / "sub" / "pyproject.toml").write_text("[tool.smoothserve]\nworkers = 3\n")
    assert resolve_settings({}, {}, None, str(tmp_path)).settings.workers == 2
    assert resolve_settings({"chdir": "sub"}, {}, None, str(tmp_path)).settings.workers == 3
    assert resolve_settings({}, {"SMOOTHSERVE_CHDIR": "sub"}, None, str(tmp_path)).settings.workers == 3


def test_the_file_is_read_through_a_swapped_link(tmp_path: Path) -> None:
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "pyproject.toml").write_text(f"[tool.smoothserve]\nworkers = {release}\n")
    current = tmp_path / "current"
    for release in ("1", "2"):
        current.unlink(missing_ok=True)
        current.symlink_to(release)
        assert resolve_settings({}, {}, None, str(current)).settings.workers == int(release)


def test_a_server_needs_an_application() -> None:
    with pytest.raises(SettingsError, match="smoothserve myapp:app"):
        load_settings({}, {}, None, HERE)
    assert load_settings({}, {"SMOOTHSERVE_APP": "a:b"}, None, HERE).app == "a:b"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            {"metrics_bind": "127.0.0.1:9000", "control_socket": "off"},
            (
                "flag --metrics-bind: metrics are asked for at the control socket, which is off: "
                "leave out --control-socket off, or --metrics-bind"
            ),
        ),
        ({"keyfile": "k"}, "flag --keyfile: there is no TLS without --certfile: name it, too"),
        ({"sni": ["a.example=c"]}, "flag --sni: there is no TLS without --certfile: name it, too"),
        ({"ca_certs": "c"}, "flag --ca-certs: there is no TLS without --certfile: name it, too"),
        ({"cert_reqs": "2"}, "flag --cert-reqs: there is no TLS without --certfile: name it, too"),
        (
            {"certfile": "c", "cert_reqs": "required"},
            "flag --cert-reqs: without --ca-certs no client's certificate is trusted: name its authorities",
        ),
        (
            {"certfile": "c", "sni": ["a.example=c", "A.example=d"]},
            "flag --sni: a.example has two certificates: leave one out",
        ),
    ],
)
def test_what_tls_needs_must_be_there(flags: dict[str, Any], said: str) -> None:
    assert refusal(flags) == said


def test_tls_is_asked_for_by_gunicorns_and_uvicorns_names_for_a_requirement() -> None:
    given = {"certfile": "c", "ca_certs": "a"}
    for text, normal in {"0": "none", "1": "optional", "2": "required", "CERT_REQUIRED": "required"}.items():
        assert resolve(given | {"cert_reqs": text}).settings.cert_reqs == normal
    assert refusal(given | {"cert_reqs": "3"}).startswith('flag --cert-reqs: "3" is not one of none, optional, req')


def test_certificates_stay_as_typed_so_that_each_new_worker_looks_for_them_again() -> None:
    settings = resolve({"certfile": "tls/c", "keyfile": "tls/k", "sni": ["a.example=x:y"]}).settings
    options = tls_options(settings)
    assert options is not None
    assert options.certificate == CertificateFiles("tls/c", "tls/k")
    assert options.sni == {"a.example": CertificateFiles("x", "y")}
    elsewhere = tls_options(settings, "/srv")
    assert elsewhere is not None
    assert elsewhere.certificate == CertificateFiles("/srv/tls/c", "/srv/tls/k")
    assert tls_options(resolve().settings) is None
