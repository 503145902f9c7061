"""The kinds of values a setting can have: how text becomes a value, and which values are allowed.

A kind knows nothing of where a value came from.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}\Z")
_DECIMAL = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]*)?|\.[0-9]+)\Z")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
#: Longer values are cut in messages, which are one line.
_SHOWN_CHARACTERS = 80


class NotAllowedError(ValueError):
    """A value is not allowed. The text goes on after the value: `"abc" is not a whole number from 1 to 256`."""


class Kind(Protocol):
    """A kind of value."""

    @property
    def metavar(self) -> str:
        """What stands for the value in `--help`."""

    @property
    def allowed(self) -> str:
        """Which values are allowed, in words."""

    def parse(self, text: str) -> Any:
        """Parse text from the command line or the environment. Raise `NotAllowedError` if it is not allowed."""

    def check(self, value: Any) -> Any:
        """Check a value of a file's, return it in its normal form. Raise `NotAllowedError` if it is not allowed."""


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false."""

    metavar: str = ""
    allowed: str = "true or false"

    def parse(self, text: str) -> bool:
        """Parse 1/0, true/false, yes/no, on/off."""
        word = text.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise NotAllowedError(f"is not {self.allowed}")

    def check(self, value: Any) -> bool:
        """Check that it is a boolean."""
        if isinstance(value, bool):
            return value
        raise NotAllowedError(f"is not {self.allowed}")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    minimum: int
    maximum: int
    metavar: str = "N"
    remark: str = ""
    """What else to say of the bounds to whom has passed them."""

    @property
    def allowed(self) -> str:
        """The bounds, in words."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def parse(self, text: str) -> int:
        """Parse decimal digits."""
        return self.check(int(text) if _WHOLE.match(text.strip()) else text)

    def check(self, value: Any) -> int:
        """Check the type and the bounds."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.minimum <= value <= self.maximum:
            raise NotAllowedError(f"is not {self.allowed}{self.remark}")
        return value


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration in seconds, as a float."""

    minimum: float = 0.0
    #: A year: beyond it the system calls that wait refuse the number.
    maximum: float = 31_536_000.0
    above_minimum: bool = False
    metavar: str = "SECONDS"

    @property
    def allowed(self) -> str:
        """The bounds, in words."""
        if self.above_minimum:
            return f"a number of seconds above {self.minimum:g}, at most {self.maximum:.0f}"
        return f"a number of seconds from {self.minimum:g} to {self.maximum:.0f}"

    def parse(self, text: str) -> float:
        """Parse a decimal number."""
        return self.check(float(text) if _DECIMAL.match(text.strip()) else text)

    def check(self, value: Any) -> float:
        """Check the type and the bounds."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise NotAllowedError(f"is not {self.allowed}")
        if value > self.maximum or value < self.minimum or (self.above_minimum and value == self.minimum):
            raise NotAllowedError(f"is not {self.allowed}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    choices: tuple[str, ...]
    synonyms: tuple[tuple[str, str], ...] = ()
    """Words of other servers', each with ours."""
    advice: tuple[tuple[str, str], ...] = ()
    """Words of other servers' that have none of ours, each with what to do."""

    @property
    def metavar(self) -> str:
        """The words."""
        return "|".join(self.choices)

    @property
    def allowed(self) -> str:
        """The words."""
        return f"one of {', '.join(self.choices)}"

    def parse(self, text: str) -> str:
        """Parse a word, in any case."""
        return self.check(text.strip())

    def check(self, value: Any) -> str:
        """Check that it is one of the words, in any case."""
        if isinstance(value, int | float) and str(value) in self.choices:
            raise NotAllowedError("is a number: put it in quotes")
        word = value.lower() if isinstance(value, str) else ""
        word = dict(self.synonyms).get(word, word)
        if word not in self.choices:
            more = dict(self.advice).get(word)
            raise NotAllowedError(f"is not {self.allowed}" + (f": {more}" if more else ""))
        return word


@dataclass(frozen=True, slots=True)
class Text:
    """A string that a function checks and brings into its normal form."""

    metavar: str
    allowed: str
    normalise: Callable[[str], str]

    def parse(self, text: str) -> str:
        """Check it: it is text already."""
        return self.check(text)

    def check(self, value: Any) -> str:
        """Check that it is a string, then what it says."""
        if not isinstance(value, str):
            raise NotAllowedError(f"is not {self.allowed}, as a string in quotes")
        if "\0" in value:
            raise NotAllowedError("has a NUL character in it")
        return self.normalise(value)


@dataclass(frozen=True, slots=True)
class Several:
    """A list of texts: an array in a file, a repeated flag, separated in an environment variable."""

    item: Text
    separator: str
    is_set: bool = False
    """Whether there must be one at least, and none twice."""
    twice_if_ends: str = "\0"
    """With this at its end, an item of a set may be there twice."""
    splits: bool = False
    """Whether each item given may be several, with the separator between them."""

    @property
    def metavar(self) -> str:
        """What stands for one item."""
        return self.item.metavar

    @property
    def allowed(self) -> str:
        """What one item may be, and how several are written."""
        between = "commas" if self.separator == "," else "line ends"
        return f"{self.item.allowed}; several as an array, a repeated flag, or with {between} between them"

    def parse(self, text: str) -> list[str]:
        """Split and check each part; empty ones do not count."""
        return self.check([part.strip() for part in text.split(self.separator) if part.strip()])

    def check(self, value: Any) -> list[str]:
        """Check each item; a single string is a list of one."""
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise NotAllowedError(f"is not {self.item.allowed}, as a string or an array of strings")
        if self.splits and all(isinstance(item, str) for item in items):
            items = [part.strip() for item in items for part in item.split(self.separator) if part.strip()]
        checked: list[str] = []
        for item in items:
            normal = self._check_item(item, alone=items is not value or len(items) == 1)
            if self.is_set and normal in checked and not normal.endswith(self.twice_if_ends):
                raise NotAllowedError(f"has {show(item)} twice")
            checked.append(normal)
        if self.is_set and not checked:
            raise NotAllowedError("is empty: one at least is needed")
        return checked

    def _check_item(self, item: Any, *, alone: bool) -> str:
        try:
            return self.item.check(item)
        except NotAllowedError as error:
            if alone:
                raise
            raise NotAllowedError(f"has a bad item: {show(item)} {error}") from None


def show(value: Any) -> str:
    """Render a value for a message, on one line, as a file would have it."""
    try:
        shown = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        shown = str(value)
    shown = printable(shown)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "..."


def printable(text: str) -> str:
    """Render text on one line that cannot move a terminal's cursor."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)
