"""The settings in effect as TOML, with the origin of each: what `--print-config` prints and `--config` reads."""

from typing import Any

from smoothserve.settings.resolve import DEFAULT_ORIGIN, Resolved
from smoothserve.settings.setting import Setting
from smoothserve.settings.table import GROUPS, TABLE

_COMMENT_COLUMN = 40
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def render_toml(resolved: Resolved) -> str:
    """Render all settings as TOML, each with a comment that says where it came from."""
    lines = [f"# {comment_text(f'read: {resolved.config}' if resolved.config else 'no configuration file was read')}"]
    for group in GROUPS:
        lines += ["", f"# {group}"]
        for setting in (one for one in TABLE if one.group == group):
            value = getattr(resolved.settings, setting.name)
            if value is None or (setting.positional and not value):
                lines.append(f"# {setting.name} is not set")
                continue
            if setting.secret:
                lines.append(f"# {setting.name} is set, and not shown")
                continue
            comment = f"  # {comment_text(resolved.origins.get(setting.name, DEFAULT_ORIGIN))}"
            lines.append(f"{setting.name} = {render_value(value)}".ljust(_COMMENT_COLUMN) + comment)
    return "\n".join(lines) + "\n"


def default_text(setting: Setting) -> str:
    """Say what a setting's default is, for a reader."""
    if setting.default_text or isinstance(setting.default, str):
        return setting.default_text or setting.default
    if isinstance(setting.default, bool):
        return "on" if setting.default else "off"
    if isinstance(setting.default, float):
        return f"{setting.default:g}"
    return "none" if setting.default in (None, []) else str(setting.default)


def render_value(value: Any) -> str:
    """Render a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(_escaped(one) for one in value)}"'
    if isinstance(value, list):
        return f"[{', '.join(render_value(one) for one in value)}]"
    return repr(value)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    # Bytes of a path that are no UTF-8 (surrogates in Python) cannot be written in TOML at all.
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character


def comment_text(text: str) -> str:
    """Render text so that it stays inside a comment."""
    return "".join(one if one.isprintable() else "?" for one in text)
