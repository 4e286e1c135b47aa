"""The options that read speech alone, or words alone."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodline.config import Modalities


def add_to(parser: Any) -> None:
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--audio-only", action="store_true", help="read the speech alone, whatever words are there")
    alone.add_argument("--words-only", action="store_true", help="read the words alone, which then need no audio")


def modalities_of(options: Any) -> "Modalities":
    return "audio" if options.audio_only else "text" if options.words_only else "both"
