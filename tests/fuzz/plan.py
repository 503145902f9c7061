"""The plan at the front of an input whose target reads in steps."""


def split(data: bytes) -> tuple[int, list[bytes]]:
    """Take a plan off the front: one byte of options, one that says how long the pieces of the rest are (0: whole)."""
    options, step, rest = data[:1], data[1:2], data[2:]
    size = step[0] if step and step[0] else max(len(rest), 1)
    return (options[0] if options else 0), [rest[at : at + size] for at in range(0, len(rest), size)]
