"""Numbers in sentences."""


def counted(number: int, noun: str) -> str:
    """``1 conversation``, ``1,023 conversations``: a number of things of a noun with a plain plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
