"""Numbers in sentences, and what several errors say."""


def counted(number: int, noun: str) -> str:
    """``1 conversation``, ``1,023 conversations``: a number of things of a noun with a plain plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def to_install(extra: str) -> str:
    """How one of the package's extras is installed, from a package index or in a clone."""
    return f"pip install 'moodline[{extra}]', or in a clone .venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
