"""What a connection has behind it in other workers: told from one to the next, for the operator only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Past:
    """Seconds of age, bytes received and sent, before the connection was taken over."""

    age: float = 0.0
    received: int = 0
    sent: int = 0

    @classmethod
    def parse(cls, value: object) -> "Past":
        """Read what `Connection.tell_past` has said; what is not understood is no past."""
        if isinstance(value, list) and len(value) == 3 and all(isinstance(one, int | float) for one in value):
            return cls(*value)
        return NO_PAST


NO_PAST = Past()
