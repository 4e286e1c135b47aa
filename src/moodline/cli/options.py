"""Options that several commands share, and the checks of what they are given."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import jsonargparse

from moodline.config import EMBEDDINGS_OPTIONS, Modalities, list_keys, rewrite_message
from moodline.console import print_line, remove_controls
from moodline.errors import MoodlineError

if TYPE_CHECKING:
    import torch

    from moodline.inference.predictor import Predictor

# Positional arguments and options with a short form, as a person types them.
TYPED_NAMES = {"corpus": "CORPUS", "source": "SOURCE", "sources": "SOURCE", "out": "-o"}

MODALITIES_ONLY = {"--audio-only": ("--modalities", "audio"), "--words-only": ("--modalities", "text")}
# Command -> its options' spellings of the release before -> those of this one.
DEPRECATED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "transcribe": {"--words": ("--import-words",), "--speak-words": ("--tts",)},
    "evaluate": {"--labels": ("--label-set",)},
    "predict": {"--why": ("--explain",), **MODALITIES_ONLY},
    "stream": MODALITIES_ONLY,
}
RECIPE_COMMANDS = ("train", "baselines", "reproduce")


def replace_deprecated(arguments: Sequence[str]) -> list[str]:
    """Replace deprecated spellings of a command's options, with a note on standard error for each.

    Raises:
        MoodlineError: two deprecated options give one option two values
    """
    if not arguments:
        return []
    command, *rest = arguments
    renamed: dict[str, tuple[str, ...]] = {}
    replaced = [command]
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in DEPRECATED.get(command, {}):
            renamed[name] = option, *_ = DEPRECATED[command][name]
            replaced += [f"{option}={value}"] if equals else renamed[name]
        else:
            replaced.append(argument)
    if renamed.keys() >= MODALITIES_ONLY.keys():
        raise MoodlineError("--audio-only and --words-only exclude each other: give one", code="option.contradiction")
    for name, new in renamed.items():
        print_line(f"moodline: {name} is deprecated; use {' '.join(new)}", sys.stderr)
    return replaced


def accept_dashes(arguments: Sequence[str]) -> list[str]:
    """Spell the recipe keys among the options of a command as recipes do: --label-set is the key label_set."""
    if not arguments or arguments[0] not in RECIPE_COMMANDS:
        return list(arguments)
    spellings = {f"--{key.replace('_', '-')}": f"--{key}" for key in list_keys()}
    parts = (argument.partition("=") for argument in arguments)
    return ["".join((spellings.get(name, name), equals, value)) for name, equals, value in parts]


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Leaves out Python's names of types, and empty defaults."""

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
        raise self.build_error(" ".join(message.split())) from ex

    def build_error(self, message: str) -> MoodlineError:
        """Build the error for one of jsonargparse's messages, in one line."""
        if unknown := re.search(r"Unrecognized arguments: (\S+)", message, re.IGNORECASE):
            return self.build_unknown_error(unknown[1].split("=")[0])
        if missing := re.fullmatch(r"the following arguments are required: (?P<names>[\w., ]+)", message):
            names = [name.rsplit(".", 1)[-1] for name in missing["names"].split(", ")]
            listed = ", ".join(TYPED_NAMES.get(name, f"--{name}") for name in names)
            noun = "argument" if len(names) == 1 else "arguments"
            return MoodlineError(f"missing required {noun}: {listed}; see {self.name} --help", code="option.missing")
        return MoodlineError(f"{rewrite_message(message).rstrip('.')}; see {self.name} --help", code="option.invalid")

    def build_unknown_error(self, option: str) -> MoodlineError:
        """Build the error for an option that the command lacks, with the nearest one where it looks misspelt."""
        close = difflib.get_close_matches(option, self.list_options(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"{self.name} --help lists the options"
        return MoodlineError(f"{self.name} has no option {option!r}; {hint}", code="option.unknown")

    @property
    def name(self) -> str:
        """The command as a person types it."""
        return self.prog.replace(" [options]", "")

    def list_options(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


@contextmanager
def resumable() -> Iterator[None]:
    """Say, where a person interrupts the block, that the same command resumes it."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(str(interruption) or "Interrupted. Rerun the same command to resume.") from None


def build_turn_progress(source: Path) -> Callable[[str, int, int], None]:
    """Build the callback that reports how far a recording is."""
    return lambda done, turns, of: show_progress(f"{source}: {done}", turns, of, "turns")


def show_progress(what: str, done: int, total: int, unit: str = "conversations") -> None:
    """Show a counter that overwrites itself; nothing where standard error is not a terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{remove_controls(what)}: {done}/{total} {unit}", end=end, file=sys.stderr, flush=True)


def add_corpus(command: Parser) -> None:
    command.add_argument("corpus", type=Path, help="a corpus folder")


def add_out(command: Parser, help: str) -> None:
    command.add_argument("-o", "--out", type=Path, required=True, help=help)


def add_fold(command: Parser) -> None:
    command.add_argument("--fold", type=str, default=None, help="only this fold of each protocol")


def add_model(command: Parser) -> None:
    help = f"a model folder; without it {MODEL_VARIABLE}'s, or the demo's"
    command.add_argument("--model", type=Path, default=None, help=help)


def add_threshold(command: Parser) -> None:
    help = "label a turn uncertain where its most probable class is less probable than this"
    command.add_argument("--threshold", type=float, default=None, help=help)


REFERENCE, RECOGNISED = "reference", "recognised"  # as in corpora.storage, which would load pyarrow here


def add_words(command: Parser, use: str) -> None:
    command.add_argument("--words", choices=[REFERENCE, RECOGNISED], default=None, help=f"the corpus's words {use}")


def add_no_words(command: Parser, what: str) -> None:
    command.add_argument("--no-words", action="store_true", help=f"leave the words out of {what}, to share it")


def add_modalities(command: Parser) -> None:
    help = "read speech and words, or one of them; text needs no audio"
    command.add_argument("--modalities", choices=list(get_args(Modalities)), default="both", help=help)


def add_recognition(command: Parser) -> None:
    """Add what says where a recording's turns and words come from."""
    command.add_argument("--transcript", type=Path, default=None, help="a recording's turns: SRT, TextGrid, RTTM, ...")
    command.add_argument(
        "--channels", choices=["mixed", "speakers"], default="mixed", help="speakers: each channel is one speaker"
    )
    command.add_argument(
        "--recogniser", default=None, help="pocketsphinx, or the folder or name of a faster-whisper model"
    )
    command.add_argument("--jobs", type=int, default=None, help=JOBS)
    command.add_argument("--force", action="store_true", help="replace files that exist")


def require_at_least_one(options: Any, *names: str) -> None:
    for name in names:
        if options[name] is not None and options[name] < 1:
            raise MoodlineError(f"--{name} must be 1 or more, not {options[name]}", code="option.out_of_range")


EMBEDDINGS_NAMES = tuple(option.removeprefix("--").replace("-", "_") for option in EMBEDDINGS_OPTIONS.values())


def add_embeddings(command: Parser) -> None:
    for encoder, option in EMBEDDINGS_OPTIONS.items():
        help = f"a Parquet file (columns id, vector) that replaces the part {encoder}"
        command.add_argument(option, type=Path, default=None, help=help)


def collect_embeddings_files(options: Any) -> dict[str, Path]:
    """Map each encoder that a file of embeddings replaces to that file."""
    return {
        encoder: options[name]
        for encoder, name in zip(EMBEDDINGS_OPTIONS, EMBEDDINGS_NAMES, strict=True)
        if options[name] is not None
    }


MODEL_VARIABLE = "MOODLINE_MODEL"
DEMO_MODELS = "demo/run/fold-*/model"  # where make demo writes them


def find_model(named: Path | None) -> Path:
    """Return the named model, or the environment's, or the newest of the demo's.

    Raises:
        MoodlineError: there is none
    """
    if named is not None:
        return named
    if MODEL_VARIABLE in os.environ:
        return Path(os.environ[MODEL_VARIABLE])
    found = sorted(Path().glob(f"{DEMO_MODELS}/config.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise MoodlineError(
            f"no model is named: give --model or set {MODEL_VARIABLE}; make demo trains one on synthetic voices",
            code="model.not_named",
        )
    return found[-1].parent


def report_model(predictor: "Predictor") -> None:
    """Name on standard error the model that answers, with its notes."""
    from moodline.inference.recordings import describe_model

    facts = describe_model(predictor.model, predictor.name)
    of_model = f"the model is {facts.name}, trained on {facts.trained_on}, licence {facts.licence}"
    for sentence in (of_model, *facts.notes):
        print_line(f"moodline: {sentence}", sys.stderr)


def add_device(command: Parser, what: str = "the model runs on") -> None:
    help = f"the device that {what}: auto (a GPU where there is one), cpu, cuda, cuda:N or mps"
    command.add_argument("--device", type=str, default="auto", help=help)


def chosen_device(named: str) -> "torch.device":
    """Find the device that --device names, and report which one auto takes where it is not the CPU.

    Raises:
        MoodlineError: this machine has no such device
    """
    from moodline.device import AUTO, CPU, choose_device, describe_device

    device = choose_device(named)
    if named == AUTO and device != CPU:
        print(f"moodline: running on {describe_device(device)}", file=sys.stderr, flush=True)
    return device


JOBS = "processes that recognise words (default: one for each core with pocketsphinx, one with Whisper)"


def find_corpus(sources: Sequence[Path]) -> Path | None:
    """Return the folder that is the only source; None where all sources are files.

    Raises:
        MoodlineError: a folder is one of several sources, or does not contain a corpus
    """
    folders = [source for source in sources if os.path.isdir(source)]  # Path.is_dir raises for a name that is too long
    if not folders:
        return None
    if len(sources) > 1:
        raise MoodlineError(
            f"{folders[0]} is a folder beside other sources: give one corpus folder alone, or recordings",
            code="option.several_sources",
        )
    from moodline.corpora.corpus import DESCRIPTION_FILE

    if not (folders[0] / DESCRIPTION_FILE).exists():
        raise MoodlineError(
            f"{folders[0]} is not a corpus folder, it has no {DESCRIPTION_FILE}: name recordings one by one, such as "
            f"{folders[0] / '*.wav'}, or make a corpus with moodline prepare",
            code="corpus.not_a_corpus",
        )
    return folders[0]


def refuse_options(given: Any, names: Collection[str], reason: str) -> None:
    """Refuse options that do not fit a source.

    Args:
        given: the options that were typed
        names: those that do not fit
        reason: the end of a sentence that begins "OPTION is"

    Raises:
        MoodlineError: names the first of them
    """
    for name in names:
        if given.get(name) not in (None, False):
            option = "-o" if name == "out" else f"--{name.replace('_', '-')}"
            raise MoodlineError(f"{option} is {reason}; leave it out", code="option.unfit")


def process_each(sources: Sequence[Path], process: Callable[[Path], None]) -> None:
    """Process one source after the other; report one that fails, and continue with the next.

    Raises:
        MoodlineError: the only source failed, or some of several did
        KeyboardInterrupt: says how many are done
    """
    failed: list[str] = []
    for number, source in enumerate(sources):
        try:
            process(source)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"Interrupted. {number - len(failed)} of {len(sources)} are done.") from None
        except (MoodlineError, OSError) as error:
            if len(sources) == 1:
                raise
            failed.append(str(source))
            print_line(f"moodline: {source}: {error}", sys.stderr)
    if failed:
        others = ", the others are done" if len(failed) < len(sources) else ""
        raise MoodlineError(
            f"{len(failed)} of {len(sources)} files failed{others}: {', '.join(failed)}", code="file.some_failed"
        )


def refuse_run_together(sources: Sequence[Path], format: str) -> None:
    """Refuse to print several files of a format one after the other, as no program reads them apart again."""
    if len(sources) > 1:
        raise MoodlineError(
            f"{len(sources)} sources as {format} are several files: name their folder with -o",
            code="option.no_out_folder",
        )


def refuse_several_with(transcript: Path | None, sources: Sequence[Path]) -> None:
    """Refuse one transcript for several recordings."""
    if transcript is not None and len(sources) > 1:
        raise MoodlineError(
            f"--transcript {transcript} belongs to one recording, and {len(sources)} are given: name one at a time",
            code="option.several_sources",
        )


def plan_outputs(
    sources: Sequence[Path], endings: Sequence[str], out: Path | None, transcript: Path | None, *, force: bool
) -> dict[Path, list[Path]]:
    """Map each source to the files that are written for it, one an ending; empty where they go to the terminal.

    Args:
        transcript: a file that is read besides the sources, and never overwritten

    Raises:
        MoodlineError: several sources have one file, or a file exists already, or is read
    """
    if out is None:
        return {}
    if is_folder(out):
        places = {one: [out / f"{one.stem}{ending}" for ending in endings] for one in sources}
    elif len(sources) * len(endings) > 1:
        raise MoodlineError(
            f"{out} is one file, and {len(sources) * len(endings)} are written: name a folder",
            code="option.no_out_folder",
        )
    else:
        places = {sources[0]: [out]}
    inputs = {one.resolve() for one in (*sources, transcript) if one is not None}
    taken: dict[Path, Path] = {}
    for source, files in places.items():
        for file in files:
            if file.resolve() in inputs:
                raise MoodlineError(f"{file} is read by this command: name another -o", code="file.is_input")
            if file in taken:
                raise MoodlineError(
                    f"{file} is the output of both {source} and {taken[file]}: process them one at a time, or rename "
                    "one",
                    code="file.name_clash",
                )
            taken[file] = source
            refuse_existing(file, force=force)
    return places


def refuse_existing(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise MoodlineError(f"{file} exists: name another -o, or replace it with --force", code="file.exists")


def is_folder(out: Path) -> bool:
    """Return whether files go into ``out``: it is a folder, or has no ending."""
    return out.is_dir() or not out.suffix
