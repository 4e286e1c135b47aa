"""Parse a command line and run its command; what a command needs loads when it runs."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from moodline import __version__
from moodline.cli import data, doctor, evaluate, predict, train
from moodline.cli.options import Parser, accept_dashes, add_commands, replace_deprecated
from moodline.console import print_line
from moodline.errors import MoodlineError

COMMANDS = {**data.COMMANDS, **train.COMMANDS, **predict.COMMANDS, **evaluate.COMMANDS, **doctor.COMMANDS}
USER_ERROR = 2
INTERRUPTED = 130


@cache  # for a process that runs several commands
def build_parser() -> Parser:
    parser = Parser(prog="moodline", description="Emotion recognition in conversations from speech and words.")
    parser.add_argument("--version", action="version", version=f"moodline {__version__}")
    add_commands(parser, COMMANDS)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 2 and one sentence for a user's mistake."""
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        for argument in arguments:
            if argument != (shown := argument.encode(errors="replace").decode()):  # Python holds lone surrogates
                raise MoodlineError(f"{shown} is not UTF-8: rename the file", code="file.name_not_utf8")
        arguments = accept_dashes(replace_deprecated(arguments))
        parser = build_parser()
        options = parser.parse_args(arguments)
        typed = parser.parse_args(arguments, defaults=False)  # these override a recipe's own values
        with printing_warnings():
            COMMANDS[options.command].run(options[options.command], typed[options.command])
    except MoodlineError as error:
        fail(str(error), USER_ERROR)
    except KeyboardInterrupt as interruption:
        fail(str(interruption) or "Interrupted.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as head, closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}; check it and retry", USER_ERROR)


class WarningPrinter(logging.Handler):
    """Prints the library's warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print_line(f"moodline: {record.getMessage()}", sys.stderr)


@contextmanager
def printing_warnings() -> Iterator[None]:
    """Print the library's warnings, which a program that imports it receives by ``logging``."""
    printer, logger = WarningPrinter(logging.WARNING), logging.getLogger("moodline")
    logger.addHandler(printer)
    try:
        yield
    finally:
        logger.removeHandler(printer)


def fail(sentence: str, code: int) -> None:
    sys.stdout.flush()
    print_line(f"moodline: {sentence}", sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
