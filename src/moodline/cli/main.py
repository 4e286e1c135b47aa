"""Parse a command line and run its command; what a command needs loads when it runs."""

import os
import sys
from collections.abc import Sequence

from moodline.cli import data, evaluate, predict, train
from moodline.cli.options import Parser, accept_dashes, replace_deprecated
from moodline.console import print_line
from moodline.errors import MoodlineError

COMMANDS = {
    "prepare": (data.add_prepare, data.run_prepare),
    "inspect": (data.add_inspect, data.run_inspect),
    "transcribe": (data.add_transcribe, data.run_transcribe),
    "train": (train.add_train, train.run_train),
    "evaluate": (evaluate.add_evaluate, evaluate.run_evaluate),
    "predict": (predict.add_predict, predict.run_predict),
    "stream": (predict.add_stream, predict.run_stream),
    "embed": (train.add_embed, train.run_embed),
    "plot": (evaluate.add_plot, evaluate.run_plot),
    "baselines": (evaluate.add_baselines, evaluate.run_baselines),
    "reproduce": (evaluate.add_reproduce, evaluate.run_reproduce),
    "robustness": (evaluate.add_robustness, evaluate.run_robustness),
}
USER_ERROR = 2
INTERRUPTED = 130


def build_parser() -> Parser:
    from moodline import __version__

    parser = Parser(prog="moodline", description="Emotion recognition in conversations from speech and words.")
    parser.add_argument("--version", action="version", version=f"moodline {__version__}")
    commands = parser.add_subcommands(dest="command")
    for add, _ in COMMANDS.values():
        add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 2 and one sentence for a user's mistake."""
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        refuse_undecodable(arguments)
        arguments = accept_dashes(replace_deprecated(arguments))
        parser = build_parser()
        options = parser.parse_args(arguments)
        given = parser.parse_args(arguments, defaults=False)  # these override a recipe's own values
        _, run = COMMANDS[options.command]
        run(options[options.command], given[options.command])
    except MoodlineError as error:
        fail(str(error), USER_ERROR)
    except KeyboardInterrupt as interruption:
        fail(str(interruption) or "Interrupted.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as head, closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}; check it and retry", USER_ERROR)


def refuse_undecodable(arguments: Sequence[str]) -> None:
    """Refuse names of files that are not UTF-8, which Python holds as lone surrogates."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="replace").decode()
            raise MoodlineError(f"{shown} is not UTF-8: rename the file", code="file.name_not_utf8") from None


def fail(sentence: str, code: int) -> None:
    sys.stdout.flush()
    print_line(f"moodline: {sentence}", sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
