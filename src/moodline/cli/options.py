"""Options and parsing that several commands share."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import jsonargparse

from moodline.config import EMBEDDINGS_OPTIONS, rewrite_message
from moodline.errors import MoodlineError, say, without_controls

if TYPE_CHECKING:
    import torch

    from moodline.config import Modalities
    from moodline.inference.predictor import Predictor


def simplify_message(message: str) -> str:
    """jsonargparse's complaint of what is missing, with options as they are typed; any other message as it is."""
    if missing := re.fullmatch(r"the following arguments are required: (?P<names>[\w., ]+)", message):
        names = (name.rsplit(".", 1)[-1] for name in missing["names"].split(", "))
        return "these are needed: " + ", ".join(METAVARS.get(name, f"--{name}") for name in names)
    return message


# What is given by its place, or shorter.
METAVARS = {"corpus": "CORPUS", "source": "SOURCE", "sources": "SOURCE", "out": "-o"}


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Leaves out types that only Python knows by such names, and the defaults of what is not there."""

    def _get_help_string(self, action: Any) -> str:
        found = super()._get_help_string(action)
        if action.default is not None and action.default is not False:
            return found
        return re.sub(r"(, )?default: %\(default\)s", "", found).removesuffix(" ()")

    def _get_type_str(self, action: Any) -> str | None:
        found = super()._get_type_str(action)
        return None if found is None or found.startswith("<class") else found


class Parser(jsonargparse.ArgumentParser):
    """An ArgumentParser that raises MoodlineError instead of printing its usage and exiting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{
                "exit_on_error": False,
                "print_config": False,
                "allow_abbrev": False,
                "formatter_class": HelpFormatter,
                **options,
            }
        )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise MoodlineError(self.sentence(message)) from ex

    def sentence(self, message: str) -> str:
        """What is wrong, in one line, with the nearest option where one is misspelt."""
        line = " ".join(message.split())
        strangers = re.search(r"Unrecognized arguments: (.+)", line, re.IGNORECASE)
        if strangers is None:
            return (
                simplify_message(rewrite_message(line)).removesuffix(".")
                + f"; {self.name} --help tells what is expected"
            )
        option = strangers[1].split()[0].split("=")[0]
        close = difflib.get_close_matches(option, self.list_options(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"{self.name} --help lists the options"
        return f"{self.name} has no option {option!r}; {hint}"

    @property
    def name(self) -> str:
        """The command as a person types it."""
        return self.prog.replace(" [options]", "")

    def list_options(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


@contextmanager
def resumable() -> Iterator[None]:
    """Around what goes on where it was, if the same command is given again."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        told = "interrupted; what was finished is kept, and the same command goes on from there"
        raise KeyboardInterrupt(str(interruption) or told) from None


def build_turn_progress(source: Path) -> Callable[[str, int, int], None]:
    """What tells how far a recording is."""
    return lambda done, turns, of: show_progress(f"{source}: {done}", turns, of, "turns")


def show_progress(what: str, done: int, total: int, unit: str = "conversations") -> None:
    """A counter that overwrites itself; nothing where standard error is no terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{without_controls(what)}: {done}/{total} {unit}", end=end, file=sys.stderr, flush=True)


def add_threshold(parser: Any) -> None:
    parser.add_argument(
        "--threshold", type=float, default=None, help="a probability: whatever is less probable is labelled uncertain"
    )


REFERENCE, RECOGNISED = "reference", "recognised"  # as corpora.recognition has them, which is not loaded here


def add_words(command: Parser, which: str) -> None:
    command.add_argument("--words", choices=[REFERENCE, RECOGNISED], default=None, help=f"the corpus's words {which}")


def add_leaving_out(command: Parser, what: str) -> None:
    command.add_argument("--no-words", action="store_true", help=f"leave the words out of {what}, to pass it on")


def add_modalities(parser: Any) -> None:
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--audio-only", action="store_true", help="read the speech alone, whatever words are there")
    alone.add_argument("--words-only", action="store_true", help="read the words alone, which then need no audio")


def get_modalities(options: Any) -> "Modalities":
    return "audio" if options.audio_only else "text" if options.words_only else "both"


EMBEDDINGS_NAMES = tuple(option.removeprefix("--").replace("-", "_") for option in EMBEDDINGS_OPTIONS.values())


def add_embeddings(command: Parser) -> None:
    for encoder, option in EMBEDDINGS_OPTIONS.items():
        told = f"a Parquet file (columns id, vector) in the place of the part {encoder}"
        command.add_argument(option, type=Path, default=None, help=told)


def collect_embeddings_files(options: Any) -> dict[str, Path]:
    """The files given, by the encoder whose place they take."""
    return {
        encoder: options[name]
        for encoder, name in zip(EMBEDDINGS_OPTIONS, EMBEDDINGS_NAMES, strict=True)
        if options[name] is not None
    }


MODEL_VARIABLE = "MOODLINE_MODEL"
DEMO_MODELS = "demo/run/fold-*/model"  # where make demo puts them


def find_model(named: Path | None) -> Path:
    """The model that is named, or the environment's, or the newest of the demo's; every output tells which.

    Raises:
        MoodlineError: there is none of them
    """
    if named is not None:
        return named
    if MODEL_VARIABLE in os.environ:
        return Path(os.environ[MODEL_VARIABLE])
    made = sorted(Path().glob(f"{DEMO_MODELS}/config.json"), key=lambda path: path.stat().st_mtime)
    if not made:
        raise MoodlineError(
            f"a model is named with --model FOLDER or in the environment as {MODEL_VARIABLE}, and neither is here; "
            "make demo makes one of synthetic voices, for a look"
        )
    return made[-1].parent


def report_model(predictor: "Predictor") -> None:
    """Say beside the answers, where these have no room for it, which model they are of and what must be known of it."""
    from moodline.inference.recordings import describe_model

    facts = describe_model(predictor.model, predictor.name)
    of_model = f"the model is {facts.name}, trained on {facts.trained_on}, licence {facts.licence}"
    for sentence in (of_model, *facts.notes):
        say(f"moodline: {sentence}", sys.stderr)


def add_device(command: Parser, what: str = "the model runs on") -> None:
    """Add --device to a command."""
    help = f"what {what}: auto, cpu, cuda, cuda:N or mps; auto takes a GPU where there is one"
    command.add_argument("--device", type=str, default="auto", help=help)


def chosen_device(named: str) -> "torch.device":
    """Find the device that --device names, and report what auto takes where that is not the CPU.

    Raises:
        MoodlineError: this machine has no such device
    """
    from moodline.device import AUTO, CPU, choose_device, describe_device

    device = choose_device(named)
    if named == AUTO and device != CPU:
        print(f"moodline: running on {describe_device(device)}", file=sys.stderr, flush=True)
    return device


def find_corpus(sources: Sequence[Path]) -> Path | None:
    """The folder that is the only source; None where all are files.

    Raises:
        MoodlineError: a folder is one of several, or holds no corpus
    """
    folders = [source for source in sources if os.path.isdir(source)]  # also of a name that is too long for one
    if not folders:
        return None
    if len(sources) > 1:
        raise MoodlineError(f"{folders[0]} is a folder, as a corpus is: take it alone, or name recordings, not folders")
    from moodline.corpora.corpus import DESCRIPTION_FILE

    if not (folders[0] / DESCRIPTION_FILE).exists():
        raise MoodlineError(
            f"a folder holds a corpus, and {folders[0]} has no {DESCRIPTION_FILE}: name recordings one by one, such as "
            f"{folders[0] / '*.wav'}, or make a corpus with moodline prepare"
        )
    return folders[0]


def refuse_options(given: Any, names: Collection[str], what: str) -> None:
    """Refuse options that do not fit a source.

    Args:
        given: the options that were typed
        names: of those that do not fit
        what: they are for and the source is not, as the end of a sentence

    Raises:
        MoodlineError: names the first of them
    """
    for name in names:
        if given.get(name) not in (None, False):
            option = "-o" if name == "out" else f"--{name.replace('_', '-')}"
            raise MoodlineError(f"{option} is {what}; leave it out")


def process_each(sources: Sequence[Path], deliver: Callable[[Path], None]) -> None:
    """Deliver one source after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: the only one failed, or some of several did
        KeyboardInterrupt: with how many are done
    """
    failed: list[str] = []
    for number, source in enumerate(sources):
        try:
            deliver(source)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted: {number - len(failed)} of {len(sources)} are done") from None
        except (MoodlineError, OSError) as error:
            if len(sources) == 1:
                raise
            failed.append(str(source))
            say(f"moodline: {source}: {error}", sys.stderr)
    if failed:
        others = ", the others are done" if len(failed) < len(sources) else ""
        raise MoodlineError(f"{len(failed)} of {len(sources)} files failed{others}: {', '.join(failed)}")


def refuse_run_together(sources: Sequence[Path], format: str) -> None:
    """Refuse to print several files of a format one after the other, of which nothing could be read again."""
    if len(sources) > 1:
        raise MoodlineError(f"{len(sources)} times {format} are as many files: name their folder with -o")


def refuse_several_with(transcript: Path | None, sources: Sequence[Path]) -> None:
    """Refuse one transcript for several recordings."""
    if transcript is not None and len(sources) > 1:
        raise MoodlineError(
            f"a transcript is of one recording: --transcript {transcript} was given with {len(sources)}; "
            "name them one at a time"
        )


def plan_outputs(
    sources: Sequence[Path], endings: Sequence[str], out: Path | None, transcript: Path | None, *, force: bool
) -> dict[Path, list[Path]]:
    """Where each source's files go, one an ending; nothing where they go to the terminal.

    Args:
        transcript: what is read besides, and so never written over

    Raises:
        MoodlineError: several would go to one file, or a file is there already, or is read
    """
    if out is None:
        return {}
    if is_folder(out):
        places = {one: [out / f"{one.stem}{ending}" for ending in endings] for one in sources}
    elif len(sources) * len(endings) > 1:
        raise MoodlineError(
            f"{out} is the name of one file, and {len(sources) * len(endings)} are to be written: name a folder"
        )
    else:
        places = {sources[0]: [out]}
    taken: dict[Path, Path] = {}
    for source, files in places.items():
        for file in files:
            if file in taken or file.resolve() == source.resolve():
                other = taken.get(file, source)
                raise MoodlineError(
                    f"{file} would hold what {source} and {other} give: label them one at a time, or rename one"
                    if other != source
                    else f"{file} is what is read: name another -o"
                )
            if transcript is not None and file.resolve() == transcript.resolve():
                raise MoodlineError(f"{file} is the transcript that is read: name another -o")
            taken[file] = source
            refuse_existing(file, force=force)
    return places


def refuse_existing(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise MoodlineError(f"{file} exists: name another -o, or replace it with --force")


def is_folder(out: Path) -> bool:
    """Whether files go into it: it is a folder, or has no ending as a file has."""
    return out.is_dir() or not out.suffix
