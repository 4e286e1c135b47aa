"""The command line: arguments only; what the commands do is elsewhere, and loads when a command runs."""

import os
import sys
from collections.abc import Sequence

from moodline.cli import data, evaluate, predict, train
from moodline.cli.options import Parser
from moodline.errors import MoodlineError, say

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
    parser = Parser(prog="moodline", description="Emotion recognition in conversations from speech and words.")
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subcommands(dest="command")
    for add, _ in COMMANDS.values():
        add(commands)
    return parser


def version() -> str:
    from moodline import __version__

    return f"moodline {__version__}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 2 and one sentence for a user's mistake."""
    try:
        refuse_unreadable_names(sys.argv[1:] if arguments is None else arguments)
        parser = build_parser()
        options = parser.parse_args(arguments)
        given = parser.parse_args(arguments, defaults=False)  # what a recipe's own values must yield to
        _, run = COMMANDS[options.command]
        run(options[options.command], given[options.command])
    except MoodlineError as error:
        fail(str(error), USER_ERROR)
    except KeyboardInterrupt as interruption:
        fail(str(interruption) or "interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(
            f"{error.filename or 'a file'} cannot be used: {error.strerror or error}; mend that and try again",
            USER_ERROR,
        )


def refuse_unreadable_names(arguments: Sequence[str]) -> None:
    """Refuse names of files that are no UTF-8, which Python holds as halves of pairs."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="replace").decode()
            raise MoodlineError(f"names are in UTF-8, and {shown} is not: rename the file") from None


def fail(sentence: str, code: int) -> None:
    sys.stdout.flush()
    say(f"moodline: {sentence}", sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
