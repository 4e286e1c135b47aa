"""A recording's turns and their words: from a transcript, or by voice activity and a recogniser."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch

from moodline.audio.recording import Recording, open_recording
from moodline.audio.vad import Channels, detect_speaker_turns, detect_turns
from moodline.conversation import UNKNOWN, Segment
from moodline.device import AUTO, recogniser_device
from moodline.errors import MoodlineError, format_count, format_option, quote
from moodline.speech import asr
from moodline.speech.diarisation import Diarisation, Span, diarise, find_speaker
from moodline.transcripts.formats import read_transcript, refuse_wordless_format, write_transcript
from moodline.transcripts.transcript import fit_to_duration, format_places

Speakers = int | Literal["auto", "none"]
ProgressCallback = Callable[[str, int, int], None]
"""Receives the step, the number of finished turns, and their total."""


def no_progress(step: str, turns: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcription:
    """A recording's turns in order of their starts.

    Attributes:
        turns_from, words_from: as in ``Timeline``
        notes: sentences on omissions and guesses
        language: of the words, as the transcript spells it; None if it names none
    """

    turns: tuple[Segment, ...]
    turns_from: str
    words_from: str | None = None
    notes: tuple[str, ...] = ()
    language: str | None = None

    @property
    def turns_with_words(self) -> tuple[Segment, ...]:
        return tuple(turn for turn in self.turns if (turn.words or "").strip())

    def write(self, path: str | Path) -> None:
        """Write the turns that have words as a transcript, in the format of the file's ending, whole or not at all."""
        refuse_wordless_format(Path(path))
        write_transcript(Path(path), self.turns_with_words)


def transcribe(
    source: str | Path | np.ndarray,
    *,
    sample_rate: int | None = None,
    transcript: str | Path | None = None,
    channels: Channels = "mixed",
    speakers: Speakers = "none",
    names: Mapping[str, str] | None = None,
    recogniser: str | asr.SpeechRecogniser | None = None,
    jobs: int | None = 1,
    device: str | torch.device = AUTO,
    progress: ProgressCallback = no_progress,
) -> Transcription:
    """Find the turns of a recording, in order of their starts, and recognise their words.

    They are the turns and words that ``Model.predict`` reads. Turns without recognised words have none.

    Args:
        source: a file; or samples (T,) or (T, channels), floats within [-1, 1] or integers of full scale
        sample_rate: of samples, in Hz
        transcript: a file of turns, such as RTTM; words are recognised only in turns without any
        channels: ``mixed``, or ``speakers`` if each channel has its own speaker
        speakers: ``auto`` or their number finds who speaks, where no transcript says it (the extra ``speakers``)
        names: of speakers, by the number or the name that they have otherwise
        recogniser: pocketsphinx or a model of faster-whisper; a ``SpeechRecogniser`` is loaded once for many recordings
        jobs: processes of a named recogniser, see ``SpeechRecogniser``
        device: of a named recogniser that can use a GPU (Whisper): cpu, cuda or cuda:N; auto takes CUDA, else the CPU
        progress: receives the number of turns whose words are recognised

    Raises:
        MoodlineError: nothing can be read, no speech or no words are found, or an option does not fit
    """
    device = recogniser_device(device)
    recording = open_recording(source, sample_rate, separate=channels == "speakers")
    is_shared = isinstance(recogniser, asr.SpeechRecogniser)
    with nullcontext(recogniser) if is_shared else asr.SpeechRecogniser(recogniser, jobs, device) as loaded:
        found = find_turns(recording, transcript, channels, loaded, progress, speakers, names or {})
    turns, silent = format_count(len(found.turns), "turn"), len(found.turns) - len(found.turns_with_words)
    if not found.turns_with_words:
        raise MoodlineError(
            f"{found.words_from} found no words in the {turns} of {recording.name}: take another "
            f"{format_option('recogniser')}",
            code="asr.no_words",
        )
    notes = [f"no words were found in {silent:,} of {turns}"] if silent else []
    return replace(found, notes=(*found.notes, *notes, *map(str, recording.gaps)))


def find_turns(
    recording: Recording,
    transcript: str | Path | None,
    channels: Channels,
    recogniser: asr.SpeechRecogniser | None,
    progress: ProgressCallback,
    speakers: Speakers = "none",
    names: Mapping[str, str] = MappingProxyType({}),
) -> Transcription:
    """Read a transcript's turns, or find turns by voice activity; recognise words that are unknown, which may be none.

    Args:
        recogniser: None recognises no words
        speakers: whether to find the speakers whom neither the transcript nor the channels name
        names: see ``transcribe``
    """
    refuse_unfit_speakers(channels, speakers)
    if transcript is not None:
        found = read_turns(recording, Path(transcript), channels)
    elif speakers == "none":
        by = "voice activity" if channels == "mixed" else "voice activity in each channel"
        found = Transcription(turns=tuple(detect_turns(recording, channels)), turns_from=by)
    else:
        found = Transcription(turns=(), turns_from="voice activity and diarisation")
    if speakers != "none" and (transcript is None or any(turn.speaker == UNKNOWN for turn in found.turns)):
        found = add_speakers(found, recording, speakers)
    found = replace(found, turns=tuple(rename_speakers(found.turns, names)))
    return recognise_words(found, recording, recogniser, progress)


def refuse_unfit_speakers(channels: Channels, speakers: Speakers) -> None:
    if channels not in get_args(Channels):
        known = " or ".join(get_args(Channels))
        raise MoodlineError(f"channels must be {known}, not {channels!r}", code="option.unknown_channels")
    is_number = isinstance(speakers, int) and not isinstance(speakers, bool)
    if not is_number and speakers not in ("auto", "none"):
        raise MoodlineError(
            f"{format_option('speakers')} must be auto, none or a number, not {speakers!r}",
            code="option.unknown_speakers",
        )
    if isinstance(speakers, int) and speakers < 1:
        raise MoodlineError(
            f"{format_option('speakers')} must be 1 or more, not {speakers}. Use auto to find their number.",
            code="option.out_of_range",
        )
    if channels == "speakers" and speakers != "none":
        raise MoodlineError(
            f"each channel is a speaker with {format_option('channels', channels)}: leave out "
            f"{format_option('speakers')}",
            code="option.contradiction",
        )


def read_turns(recording: Recording, transcript: Path, channels: Channels) -> Transcription:
    """Read a transcript, cut at the recording's end."""
    if channels != "mixed":
        raise MoodlineError(
            f"the speakers come from {transcript}: leave out {format_option('channels', channels)}",
            code="option.unfit_channels",
        )
    read = fit_to_duration(read_transcript(transcript), recording.duration)
    return Transcription(
        turns=read.turns,
        turns_from=f"{transcript.name} ({read.format})",
        words_from=transcript.name if any(turn.words is not None for turn in read.turns) else None,
        notes=read.notes,
        language=read.language,
    )


def add_speakers(found: Transcription, recording: Recording, speakers: int | Literal["auto"]) -> Transcription:
    """Find who speaks: the turns of each, or the speakers of a transcript's turns that have none."""
    diarisation = diarise(recording, None if speakers == "auto" else speakers)
    turns = name_nameless(found.turns, diarisation)
    turns = turns or detect_speaker_turns(recording, diarisation.speakers)
    turns = turns or detect_turns(recording)  # or the error that there is no speech
    notes: list[str] = []
    if speakers != "auto" and len(diarisation.speakers) < speakers:
        fewer = format_count(len(diarisation.speakers), "speaker")
        notes.append(f"{fewer} of {speakers} found; the recording has too few turns, or voices that are too alike")
    if overlap := sum(span.duration for span in diarisation.overlaps):
        notes.append(f"several voices speak at once for {overlap:.1f} s; turns there hold more than one voice")
    return replace(found, turns=tuple(turns), notes=(*found.notes, *notes))


def name_nameless(turns: Sequence[Segment], diarisation: Diarisation) -> list[Segment]:
    """Name the speakers of turns that have none.

    A speaker has the name of the transcript's turns in which that speaker speaks longest, or else a new one.
    """
    owners = [find_speaker(Span(turn.start, turn.end), diarisation.speakers) for turn in turns]
    known = {turn.speaker for turn in turns} - {UNKNOWN}
    seconds: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for turn, owner in zip(turns, owners, strict=True):
        if turn.speaker != UNKNOWN and owner is not None:
            seconds[owner][turn.speaker] += turn.end - turn.start
    unused = (name for number in count(1) if (name := f"speaker {number}") not in known)
    names = {
        number: max(seconds[number], key=seconds[number].__getitem__) if seconds[number] else next(unused)
        for number in range(len(diarisation.speakers))
    }
    return [
        turn if turn.speaker != UNKNOWN or owner is None else replace(turn, speaker=names[owner])
        for turn, owner in zip(turns, owners, strict=True)
    ]


def rename_speakers(turns: Sequence[Segment], names: Mapping[str, str]) -> list[Segment]:
    """Rename speakers by their names, or by the number at the end of them, such as 1 for ``speaker 1``."""
    known = list(dict.fromkeys(turn.speaker for turn in turns))
    renamed = {name: name for name in known}
    for key, name in names.items():
        matching = [one for one in known if key == one or re.fullmatch(rf"(?:speaker|channel) {re.escape(key)}", one)]
        if not matching:
            raise MoodlineError(
                f"{format_option('names')} renames {quote(key)}, and the recording has {format_places(known)}. Correct "
                "the name or leave it out.",
                code="option.unknown_speaker",
            )
        renamed |= dict.fromkeys(matching, name)
    return [replace(turn, speaker=renamed[turn.speaker]) for turn in turns]


def recognise_words(
    found: Transcription, recording: Recording, recogniser: asr.SpeechRecogniser | None, progress: ProgressCallback
) -> Transcription:
    """Recognise the words of turns without any."""
    unknown = [position for position, turn in enumerate(found.turns) if turn.words is None]
    if recogniser is None or not unknown:
        return found
    progress("words recognised", 0, len(unknown))
    turns = list(found.turns)
    segments = (turns[position] for position in unknown)
    sources = (recording.clip(one.start, one.end, asr.SAMPLE_RATE, one.channel) for one in segments)
    for done, words in enumerate(recogniser.recognise(sources)):
        turns[unknown[done]] = replace(turns[unknown[done]], words=words)
        progress("words recognised", done + 1, len(unknown))
    by = f"{recogniser.name} {recogniser.version}"
    return replace(
        found,
        turns=tuple(turns),
        words_from=f"{found.words_from}, else {by}" if found.words_from else by,
        notes=(*found.notes, *recogniser.notes),
    )
