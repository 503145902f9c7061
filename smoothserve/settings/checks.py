"""What an application's name, an address, a header, a path may look like: functions from text to its normal form.

Each raises `NotAllowedError`, which says how to write it instead. None of them looks at the world: whether a file
exists or a port is free is found out by whoever uses it.
"""

import ipaddress
import os
import re

from smoothserve.logs.formats import BadFormatError, compile_format
from smoothserve.net.certificates import BadNameError, parse_sni
from smoothserve.settings.kinds import NotAllowedError

BIND_FORMS = "host:port, [ipv6]:port, unix:/path or fd://N"
DEFAULT_PORT = 8000

FORWARDED_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
)

_MODULE_PART = re.compile(r"[^\s:/\\.()]+\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_FD = re.compile(r"fd://([0-9]{1,6})\Z")
_HOST = re.compile(r"[^\s:/@\[\]*]+\Z")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")  # RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")  # RFC 9110 section 5.5
_ENV_NAME = re.compile(r"[^\s=]+\Z")
#: The server frames and dates its answers itself.
_OWN_HEADERS = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade"})


def check_app(text: str) -> str:
    """Check `MODULE:ATTR`, both dotted; a hint for what other servers or a shell's completion would have."""
    module, colon, attribute = text.partition(":")
    if module.endswith(".py") or "/" in module:
        raise NotAllowedError(f"names a file, not a module: did you mean {_from_path(module, attribute or 'app')}?")
    if attribute.endswith(")"):
        name = attribute.partition("(")[0]
        raise NotAllowedError(
            f"calls {name}: for a callable that makes the application write {module}:{name} --factory"
        )
    if not all(_MODULE_PART.match(part) for part in module.split(".")):
        raise NotAllowedError("is not MODULE:ATTR, such as myapp:app or pkg.module:app")
    if not colon or not attribute:
        raise NotAllowedError(f"names no attribute: write MODULE:ATTR, such as {module}:app")
    if not all(part.isidentifier() for part in attribute.split(".")):
        raise NotAllowedError(f"is not MODULE:ATTR: {attribute} is no attribute, write for example {module}:app")
    return text


def _from_path(path: str, attribute: str) -> str:
    directory, name = os.path.split(path.removesuffix(".py").rstrip("/"))
    if os.path.isabs(path) or ".." in path.split("/"):
        return f"{name}:{attribute} --app-dir {directory or '/'}"
    parts = [part for part in directory.split("/") if part not in ("", ".")]
    return ".".join([*parts, name]) + f":{attribute}"


def check_bind(text: str) -> str:
    """Check an address to listen on; its normal form has a host, a decimal port, one spelling of `unix:`."""
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise NotAllowedError("names no path: write unix:/path/to.sock")
        return f"unix:{path}"
    if text.startswith("fd:"):
        found = _FD.match(text)
        if found is None:
            raise NotAllowedError("is not fd://N with the number of an inherited descriptor, such as fd://3")
        return f"fd://{int(found[1])}"
    return _check_host_and_port(text.removeprefix("tcp://"))


def _check_host_and_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        if _PORT.match(text):
            raise NotAllowedError(f"has no host: write 127.0.0.1:{text}, or :{text} for all interfaces")
        if _HOST.match(text) or text.endswith("]"):
            raise NotAllowedError(f"has no port: write {text}:{DEFAULT_PORT}")
        raise NotAllowedError(f"is not {BIND_FORMS}")
    if _is_ipv6(host) and _PORT.match(port) and int(port) <= 65535:
        raise NotAllowedError(f"needs brackets around the address: write [{host}]:{port}")
    if _is_ipv6(text) and not text.startswith("["):
        raise NotAllowedError(f"needs brackets and a port: write [{text}]:{DEFAULT_PORT}")
    if not _PORT.match(port) or int(port) > 65535:
        raise NotAllowedError(f"is not {BIND_FORMS}, with a port from 0 to 65535")
    return f"{_check_bind_host(host)}:{int(port)}"


def _check_bind_host(host: str) -> str:
    if host == "":
        return "0.0.0.0"
    if host == "*":
        raise NotAllowedError("has * for a host: write 0.0.0.0, and [::] as well for IPv6")
    if host.startswith("[") and host.endswith("]"):
        if not _is_ipv6(host[1:-1]):
            raise NotAllowedError("has no IPv6 address in its brackets: write for example [::1]:8000")
        return host
    if not _HOST.match(host):
        raise NotAllowedError(f"is not {BIND_FORMS}")
    return host


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def check_host(text: str) -> str:
    """Check a host without a port, an IPv6 address with or without brackets; return it as `bind` writes it."""
    text = text.strip()
    if _is_ipv6(text):
        return f"[{text}]"
    if not text:
        raise NotAllowedError("is not a host name or an address")
    try:
        return _check_bind_host(text)
    except NotAllowedError:
        raise NotAllowedError("is not a host name or an address: the port goes to --port") from None


def check_header(text: str) -> str:
    """Check a response header; its normal form is `Name: value`."""
    name, colon, value = text.partition(":")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not colon or not _TOKEN.match(name):
        raise NotAllowedError('is not a header: write "Name: value"')
    if not _FIELD_VALUE.match(value):
        raise NotAllowedError("has a line end, a control character or a letter beyond Latin-1 in its value")
    if name.lower() in _OWN_HEADERS:
        raise NotAllowedError(f"is not for --header: the server sets {name} itself")
    return f"{name}: {value}"


def check_env(text: str) -> str:
    """Check an environment variable, `NAME=VALUE`."""
    name, equals, _ = text.partition("=")
    if not equals or not _ENV_NAME.match(name):
        raise NotAllowedError("is not NAME=VALUE")
    return text


def check_log_format(text: str) -> str:
    """Check a format of the access log."""
    if "%" not in text and text not in {"common", "combined", "json"}:
        raise NotAllowedError("is not common, combined or json, nor a line with atoms such as %(h)s")
    if "\n" in text or "\r" in text:
        raise NotAllowedError("has a line end in it")
    try:
        compile_format(text)
    except BadFormatError as error:
        raise NotAllowedError(str(error)) from None
    return text


def check_path(text: str) -> str:
    """Check that a path is not empty."""
    if not text:
        raise NotAllowedError("is empty: name a path")
    return text


def check_url_path(text: str) -> str:
    """Check a path as a client asks for it, without a query."""
    if not re.fullmatch(r"/[!$&'()*+,;=:@%/\-._~0-9A-Za-z]*", text):
        raise NotAllowedError("is not a path such as /healthz: it begins with a slash and has no space, ? or #")
    return text


def check_root_path(text: str) -> str:
    """Check the path an application is mounted at; the normal form has no slash at its end (as SCRIPT_NAME has)."""
    path = text.rstrip("/")
    if path and not path.startswith("/"):
        raise NotAllowedError(f"does not begin with a slash: write /{path}")
    if re.search(r"[\s?#%\x00-\x20\x7f]", path):
        raise NotAllowedError("is not a path: no space, ?, # or % belongs there, write it decoded")
    return path


def check_websocket_handover(text: str) -> str:
    """Check `off`, `attached`, `reenter` or `reenter:PATH-GLOB`; return it with the word in lower case."""
    word, colon, path_glob = text.strip().partition(":")
    word = word.lower()
    if word not in ("off", "attached", "reenter"):
        raise NotAllowedError("is none of off, attached, reenter, reenter:PATH-GLOB")
    if colon and word != "reenter":
        raise NotAllowedError(f"has paths, which only reenter takes: write {word}, or reenter:{path_glob}")
    if colon and not path_glob.startswith(("/", "*")):
        raise NotAllowedError("has a path that does not begin with a slash: write reenter:/chat/*, for example")
    return word + colon + path_glob


def check_proxy(text: str) -> str:
    """Check where a trusted proxy may be: an address, a network, `unix:` or `*`."""
    text = text.strip()
    if text in ("*", "unix:"):
        return text
    try:
        return str(ipaddress.ip_network(text, strict=False)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError:
        raise NotAllowedError("is not an address, a network such as 10.0.0.0/8, unix: or *") from None


def check_forwarded_header(text: str) -> str:
    """Check the name of a header that proxies set."""
    name = text.strip().lower()
    if name not in FORWARDED_HEADERS:
        raise NotAllowedError(f"is not one of {', '.join(FORWARDED_HEADERS)}")
    return name


def check_mode(text: str) -> str:
    """Check the permissions of a file, in octal digits; the normal form has three."""
    digits = text.strip().removeprefix("0o").lstrip("0") or "0"
    if len(digits) > 3 or not all(digit in "01234567" for digit in digits):
        raise NotAllowedError("is not the permissions of a file in octal digits, such as 660")
    return digits.zfill(3)


def check_account(text: str) -> str:
    """Check that a user's or group's name or number is not empty, and that a number is one that the system knows."""
    name = text.strip()
    if not name:
        raise NotAllowedError("is empty: write a name or a number")
    # The last number means "none" to the system.
    if name.isascii() and name.isdigit() and int(name) >= 2**32 - 1:
        raise NotAllowedError("is no number of a user or a group: write a smaller one, or a name")
    return name


#: How gunicorn and uvicorn number them, as `ssl.VerifyMode` does.
_CERTIFICATE_REQUIREMENTS = {"0": "none", "1": "optional", "2": "required"}


def check_cert_reqs(text: str) -> str:
    """Check whether clients need a certificate; the normal form is a word."""
    word = text.strip().lower().removeprefix("cert_")
    word = _CERTIFICATE_REQUIREMENTS.get(word, word)
    if word not in _CERTIFICATE_REQUIREMENTS.values():
        raise NotAllowedError("is not one of none, optional, required (0, 1, 2)")
    return word


def check_sni(text: str) -> str:
    """Check which files serve a name; the normal form has the name in lower case, as clients send it."""
    try:
        host, files = parse_sni(text)
    except BadNameError as error:
        raise NotAllowedError(str(error)) from None
    return f"{host}={files.certfile}" + (f":{files.keyfile}" if files.keyfile else "")


def check_ciphers(text: str) -> str:
    """Check that a list of ciphers is not empty; OpenSSL checks the rest."""
    if not text.strip():
        raise NotAllowedError("is empty: name ciphers as OpenSSL does, or leave it out")
    return text.strip()
