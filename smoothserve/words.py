"""Words that the log and the verbs share."""


def count(number: int, noun: str) -> str:
    """Render a number of things: `1 worker`, `2 workers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
