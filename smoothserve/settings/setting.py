"""How one setting is declared: everything that flags, environment, file, validation and reference are derived from."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from smoothserve.settings.kinds import Kind, Switch

ENVIRONMENT_PREFIX = "SMOOTHSERVE_"
METADATA_KEY = "smoothserve.setting"


@dataclass(frozen=True, slots=True)
class Fallback:
    """An environment variable of other programs' that stands for a default: below file and flags, above our own."""

    variable: str
    template: str = "{}"
    """How the variable's text becomes the setting's, as for a flag."""
    allowed: str = ""
    """What the variable may be, if that is not what the setting may be."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as declared."""

    name: str
    """The field of `Settings` and the key in a file."""
    kind: Kind
    help: str
    group: str
    default: Any
    aliases: tuple[str, ...] = ()
    """Further flags, the short ones too."""
    reloadable: bool = True
    """Whether a reload can change it. What cannot be changed is kept until a restart, and logged."""
    fallback: Fallback | None = None
    default_text: str = ""
    """What the default is, where the value alone doesn't say it."""
    positional: bool = False
    """Given as an argument, not as a flag."""
    secret: bool = False
    """Whether its value is never shown."""
    flag_only: bool = False
    """Neither in a file nor in the environment: it becomes part of another setting."""

    @property
    def flag(self) -> str:
        """The flag that messages name."""
        return "APP" if self.positional else "--" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags, those of the aliases last. A switch also has each of them with `--no-` (`off_flags`)."""
        return () if self.positional else (self.flag, *self.aliases)

    @property
    def off_flags(self) -> tuple[str, ...]:
        """The flags that turn a switch off."""
        if not isinstance(self.kind, Switch):
            return ()
        return tuple("--no-" + flag.removeprefix("--") for flag in self.flags if flag.startswith("--"))

    @property
    def env(self) -> str:
        """The environment variable."""
        return "" if self.flag_only else ENVIRONMENT_PREFIX + self.name.upper()


def declare(default: Any, kind: Kind, group: str, text: str, **more: Any) -> Any:
    """Declare a field of `Settings`: its default, and all of its `Setting` but the name, which the field has."""
    metadata = {METADATA_KEY: partial(Setting, kind=kind, group=group, help=text, default=default, **more)}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)
