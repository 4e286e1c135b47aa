"""Declare commands and the options that several share, and check what is typed."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import jsonargparse
from jsonargparse.typing import PositiveInt

from moodline.config import EMBEDDINGS_OPTIONS, STAGE_NAMES, Modalities, Recipe
from moodline.console import print_line, remove_controls
from moodline.errors import MoodlineError
from moodline.recipe import RENAMED_KEYS, list_keys, rewrite_message

if TYPE_CHECKING:
    import torch

    from moodline.device import Execution

Option = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, or a group of commands; ``run`` receives all options, and the typed ones without defaults."""

    help: str
    run: Callable[[Any, Any], None] = lambda options, typed: None
    shared: Sequence[Option] = ()
    options: Sequence[Option] = ()
    takes_recipe: bool = False  # the recipe's keys are options too
    commands: Mapping[str, "Command"] | None = None


def add_commands(parser: "Parser", commands: Mapping[str, Command]) -> None:
    group = parser.add_subcommands(dest="command")
    for name, command in commands.items():
        added = Parser(prog=f"{parser.name} {name}", description=command.help)
        for names, settings in (*command.shared, *command.options):
            added.add_argument(*names, **settings)
        if command.takes_recipe:
            added.add_class_arguments(Recipe)
            for section in added._action_groups:  # jsonargparse names each by its class
                section.title = re.sub("<class .*>", "keys of the recipe (docs/configuration.md)", section.title or "")
            for key in RENAMED_KEYS:
                added.add_argument(f"--{key}", type=Any, default=argparse.SUPPRESS, help=jsonargparse.SUPPRESS)
        group.add_subcommand(name, added, help=command.help)
        if command.commands:  # jsonargparse wants the outer level first
            add_commands(added, command.commands)


def option(*names: str, help: str, **settings: Any) -> Option:
    """Declare an option without a default value, or a positional argument."""
    default = {"default": None} if names[0].startswith("-") and "required" not in settings else {}
    return names, {**default, "help": help, **settings}


MAX_DIGITS = 6  # of a number of speakers


def choose_speakers(options: Any) -> dict[str, Any]:
    """Choose the arguments ``channels``, ``speakers`` and ``names``; the option --speakers may name the first too."""
    by_channel, speakers = options.speakers == "channels", options.speakers
    if by_channel:
        speakers = "none"
    elif speakers.isdecimal() and len(speakers) < MAX_DIGITS:
        speakers = int(speakers)
    elif speakers not in ("auto", "none"):
        raise MoodlineError(
            f"--speakers must be auto, channels, none or a number, not {speakers!r}", code="option.unknown_speakers"
        )
    channels = "speakers" if by_channel else options.channels
    return {"channels": channels, "speakers": speakers, "names": parse_names(options.names)}


def parse_names(text: str | None) -> dict[str, str]:
    """Parse the option --names."""
    pairs = [part.partition("=") for part in (text or "").split(",")] if text else []
    names = {number.strip(): name.strip() for number, _, name in pairs}
    if not all((*names.keys(), *names.values())) or len(names) < len(pairs):
        raise MoodlineError(f"--names must be such as 1=agent,2=caller, not {text!r}", code="option.invalid")
    return names


def flag(name: str, help: str) -> Option:
    return (name,), {"action": "store_true", "help": help}


def out(help: str, **settings: Any) -> Option:
    return option("-o", "--out", type=Path, help=help, **settings)


REFERENCE, RECOGNISED = "reference", "recognised"  # as in corpora.storage, which would load pyarrow here
MODEL_VARIABLE = "MOODLINE_MODEL"
# Options of several commands.
CORPUS = option("corpus", type=Path, help="a corpus folder")
RUN = option("run", type=Path, help="a run's folder")
MODEL_NAME = "a model folder, starter, or org/name[@revision] on the Hugging Face hub"
MODEL = option(
    "--model", type=str, help=f"{MODEL_NAME} (default: that of {MODEL_VARIABLE}, the starter, or the demo's)"
)
RECIPE = option("--recipe", required=True, help="a YAML file, or the name of one that comes with moodline")
PROTOCOL = option("--protocol", required=True, help="the folds: session5, cv5, cv10, kfold5, official, all, ...")
FOLD = option("--fold", type=str, help="use only the fold of this name")
WORDS = option(
    "--words", choices=[REFERENCE, RECOGNISED], help="words to read (default: those that trained a run, or reference)"
)
NO_WORDS = flag("--no-words", "leave words out of the output, so that it can be shared")
DEVICE = option(
    "--device", type=str, default="auto", help="where models run: auto (a GPU, if there is one), cpu, cuda, cuda:N, mps"
)
PRECISION = option(
    "--precision", choices=["32", "bf16", "fp16"], default="32", help="arithmetic of models; fp16 needs a GPU"
)
BATCH_SECONDS = option(
    "--batch-seconds",
    type=float,
    help="speech in a batch, instead of 16 turns: more fills a GPU, less saves its memory",
)
MODALITIES = option(
    "--modalities", choices=list(get_args(Modalities)), default="both", help="what to read; text needs no audio"
)
THRESHOLD = option(
    "--threshold",
    type=float,
    help="label turns uncertain if their best label is less probable (default: the model's own, 0 for none)",
)
EMBEDDINGS = tuple(
    option(name, type=Path, help=f"a Parquet file (columns id, vector) that replaces the {STAGE_NAMES[encoder]}")
    for encoder, name in EMBEDDINGS_OPTIONS.items()
)
# Where a recording's turns and words come from.
RECOGNITION = (
    option("--transcript", type=Path, help="a file with the recording's turns: SRT, TextGrid, RTTM, ..."),
    option("--channels", choices=["mixed", "speakers"], default="mixed", help="mix them, or take each as one speaker"),
    option("--speakers", default="none", help="auto, their number, channels or none: who speaks"),
    option("--names", help="of speakers, such as 1=agent,2=caller"),
    option("--recogniser", help="pocketsphinx, or a faster-whisper model's folder or name"),
    option("--jobs", type=PositiveInt, help="recognising processes (default: one per core, for Whisper one)"),
    flag("--force", "replace files that exist"),
)

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
    """Replace deprecated spellings of a command's options, with a note on standard error for each."""
    deprecated = DEPRECATED.get(arguments[0], {}) if arguments else {}
    replaced: list[str] = []
    found: set[str] = set()
    for argument in arguments:
        name, equals, value = argument.partition("=")
        new = deprecated.get(name, (name,))
        replaced += [f"{new[0]}={value}"] if equals else new
        found |= deprecated.keys() & {name}
    if found >= MODALITIES_ONLY.keys():
        raise MoodlineError("--audio-only and --words-only exclude each other: give one", code="option.contradiction")
    for name in sorted(found):
        print_line(f"moodline: {name} is deprecated; use {' '.join(deprecated[name])}", sys.stderr)
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
        return None if found is None or found.startswith("<class") else found.replace("PositiveInt", "int")


# Positional arguments and options with a short form, as a person types them.
TYPED_NAMES = {"corpus": "CORPUS", "run": "RUN", "source": "SOURCE", "sources": "SOURCE", "out": "-o"}


class Parser(jsonargparse.ArgumentParser):
    """Raises MoodlineError instead of printing its usage and exiting."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            exit_on_error=False, print_config=None, allow_abbrev=False, formatter_class=HelpFormatter, **settings
        )

    @property
    def name(self) -> str:
        """The command as a person types it."""
        return self.prog.replace(" [options]", "")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise self.build_error(" ".join(message.split())) from ex

    def build_error(self, message: str) -> MoodlineError:
        """Build the error for one of jsonargparse's messages, in one line."""
        if unknown := re.search(r"Unrecognized arguments: ([^\s=]+)", message, re.IGNORECASE):
            return self.build_unknown_error(unknown[1])
        if missing := re.fullmatch(r"the following arguments are required: (?P<names>[\w., ]+)", message):
            *command, _ = missing["names"].split(",")[0].split(".")
            names = [name.rsplit(".", 1)[-1] for name in missing["names"].split(", ")]
            listed = ", ".join(TYPED_NAMES.get(name, f"--{name}") for name in names)
            noun = "argument" if len(names) == 1 else "arguments"
            own_help = " ".join([self.name, *command, "--help"])
            return MoodlineError(f"missing required {noun}: {listed}; see {own_help}", code="option.missing")
        if group := re.match(r'expected "((?:\w+\.)*)command" to be one of \{(.+)\}, but it was not', message):
            own_help = " ".join([self.name, *group[1].split(".")[:-1], "--help"])
            listed = group[2].replace(",", ", ")
            return MoodlineError(f"missing command: {listed}; see {own_help}", code="option.missing")
        if number := re.search(r'key "(?:\w+\.)*(\w+)": Not of type PositiveInt: (?:invalid .*: )?(\S+)', message):
            rule = f"--{number[1].replace('_', '-')} must be 1 or more, not {number[2]}"
            return MoodlineError(f"{rule}; see {self.name} --help", code="option.out_of_range")
        return MoodlineError(f"{rewrite_message(message).rstrip('.')}; see {self.name} --help", code="option.invalid")

    def build_unknown_error(self, option: str) -> MoodlineError:
        """Build the error for an option that the command lacks, with the nearest one where it looks misspelt."""
        known = [name for action in self._actions for name in action.option_strings]
        key = option.removeprefix("--").rpartition(".")[2]
        close = difflib.get_close_matches(option, known, n=1) or [name for name in known if name.endswith(f".{key}")]
        hint = f"did you mean {close[0]}?" if close else f"{self.name} --help lists the options"
        code = "recipe.unknown_key" if close and close[0].removeprefix("--") in list_keys() else "option.unknown"
        return MoodlineError(f"{self.name} has no option {option!r}; {hint}", code=code)


@contextmanager
def resumable() -> Iterator[None]:
    """Say, where a person interrupts the block, that the same command resumes it."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(str(interruption) or "Interrupted. Rerun the same command to resume.") from None


def show_progress(what: str, done: int, total: int, unit: str = "conversations") -> None:
    """Show a counter that overwrites itself; nothing where standard error is not a terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{remove_controls(what)}: {done}/{total} {unit}", end=end, file=sys.stderr, flush=True)


def build_turn_progress(source: Path) -> Callable[[str, int, int], None]:
    """Build the callback that reports how far a recording is."""
    return lambda done, turns, of: show_progress(f"{source}: {done}", turns, of, "turns")


def select_device(named: str) -> "torch.device":
    """Find the device that --device names, and report which one auto takes where it is not the CPU."""
    from moodline.device import AUTO, CPU, choose_device, describe_device

    found = choose_device(named)
    if named == AUTO and found != CPU:
        print_line(f"moodline: running on {describe_device(found)}", sys.stderr)
    return found


def select_execution(options: Any) -> "Execution":
    """Combine --device, see ``select_device``, with --precision and --batch-seconds, or refuse their values."""
    from moodline.device import Execution

    device = select_device(options.device)
    return Execution(device, options.precision, options.get("batch_seconds")).resolve()


def collect_embeddings(options: Any) -> dict[str, Path]:
    """Map each encoder that a file of embeddings replaces to that file."""
    files = {
        encoder: options[name.removeprefix("--").replace("-", "_")] for encoder, name in EMBEDDINGS_OPTIONS.items()
    }
    return {encoder: file for encoder, file in files.items() if file is not None}


def find_corpus(options: Any, typed: Any, of_corpus: Collection[str], of_recordings: Collection[str]) -> Path | None:
    """Return the corpus folder that is the only source; None where all sources are files."""
    sources, unfit = options.sources, of_recordings
    folder = next((one for one in sources if os.path.isdir(one)), None)  # Path.is_dir raises for a name too long
    if folder is None:
        unfit, reason = of_corpus, f"for a corpus, and {sources[0]} is not a folder"
    elif len(sources) > 1:
        fault = f"{folder} is a folder beside other sources: give one corpus folder alone, or recordings"
        raise MoodlineError(fault, code="option.several_sources")
    elif not (folder / "corpus.json").exists():
        raise MoodlineError(
            f"{folder} is not a corpus folder, it has no corpus.json: name recordings one by one, such as "
            f"{folder / '*.wav'}, or make a corpus with moodline prepare",
            code="corpus.not_a_corpus",
        )
    else:
        reason = f"for recordings, and {folder} is a corpus folder"
    for name in unfit:
        if typed.get("out" if name == "-o" else name.removeprefix("--").replace("-", "_")) not in (None, False):
            raise MoodlineError(f"{name} is {reason}; leave it out", code="option.unfit")
    return folder


def process_each(sources: Sequence[Path], process: Callable[[Path], None]) -> None:
    """Process one source after the other; report one that fails, and continue with the next."""
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


def plan_outputs(options: Any, endings: Sequence[str], printed: str | None) -> dict[Path, list[Path]]:
    """Map each source to the files that are written for it, one an ending; empty where they go to the terminal.

    ``printed`` is the format of what the terminal receives; None where one source's can follow another's.
    """
    sources, transcript, folder = options.sources, options.transcript, options.out
    number = len(sources) * len(endings)
    if transcript is not None and len(sources) > 1:
        fault = f"--transcript {transcript} belongs to one recording, and {len(sources)} are given: name one at a time"
        raise MoodlineError(fault, code="option.several_sources")
    if folder is None and printed is not None and len(sources) > 1:
        fault = f"{len(sources)} sources as {printed} are several files: name their folder with -o"
        raise MoodlineError(fault, code="option.no_out_folder")
    if folder is None:
        return {}
    if not is_folder(folder) and number > 1:
        fault = f"{folder} is one file, and {number} are written: name a folder"
        raise MoodlineError(fault, code="option.no_out_folder")
    places = {one: [folder / f"{one.stem}{ending}" for ending in endings] for one in sources}
    if not is_folder(folder):
        places = {sources[0]: [folder]}
    inputs = {one.resolve() for one in (*sources, transcript) if one is not None}
    taken: dict[Path, Path] = {}
    for source, file in ((source, file) for source, files in places.items() for file in files):
        if file.resolve() in inputs:
            raise MoodlineError(f"{file} is read by this command: name another -o", code="file.is_input")
        if other := taken.get(file):
            fault = f"{file} is the output of both {source} and {other}: process them one at a time, or rename one"
            raise MoodlineError(fault, code="file.name_clash")
        taken[file] = source
        refuse_existing(file, force=options.force)
    return places


def refuse_existing(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise MoodlineError(f"{file} exists: name another -o, or replace it with --force", code="file.exists")


def is_folder(out: Path) -> bool:
    """Check whether files go into ``out``: it is a folder, or has no ending."""
    return out.is_dir() or not out.suffix
