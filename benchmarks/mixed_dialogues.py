"""Compare predictions of recordings with those of their corpus: dialogues mixed to recordings, turn by turn.

    .venv/bin/python benchmarks/mixed_dialogues.py corpora/tree runs/small/fold-5/model --prefix Ses05

Turns are mixed at their times into one file, mono (both speakers added) and stereo (one speaker per channel), with
transcripts as SRT, TextGrid and WhisperX JSON. The corpus's own predictions read each turn's clean clip in the same
context of all turns. Without a transcript (--voice-activity) a reference turn is compared with the detected turn that
contains at least half of it. Two further variants separate the causes of differences: the reference turns with a
recogniser's words (from RTTM), and detected turns whose speech alone is read on both sides.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from moodline.audio import io
from moodline.audio.recording import Recording
from moodline.conversation import Conversation, Segment, Utterance
from moodline.corpora.corpus import read_corpus
from moodline.inference.pipeline import load
from moodline.inference.predictor import Predictor
from moodline.inference.recordings import RecognitionOptions, recognise
from moodline.speech.asr import SpeechRecogniser
from moodline.timeline import Timeline, TimelineTurn
from moodline.transcripts.formats import write_transcript

RATE = 16_000
FORMATS = (".srt", ".TextGrid", ".json")
WORDLESS = ".rttm"


class Verdict(NamedTuple):
    """The agreement on a turn by one way of labelling it.

    ``overlaps`` another turn in time; ``shares`` the turn found with another turn of the reference, or has none.
    """

    agrees: bool
    overlaps: bool
    shares: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prefix", default="", help="of the conversations' names")
    parser.add_argument("--dialogues", type=int, default=10)
    parser.add_argument("--voice-activity", action="store_true", help="without a transcript too, which takes minutes")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    predictor = load(options.model)
    chosen = [one for one in read_corpus(options.corpus).conversations if one.id.startswith(options.prefix)]
    verdicts: dict[str, list[Verdict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for conversation in chosen[: options.dialogues]:
            for name, found in compare_dialogue(predictor, conversation, Path(folder), options).items():
                verdicts.setdefault(name, []).extend(found)
    print(f"{'recording, turns from':36s}{'no overlap':>20s}{'a turn of its own':>20s}{'all':>20s}")
    for name, found in verdicts.items():
        chosen_turns = ([one for one in found if not one.overlaps], [one for one in found if not one.shares], found)
        print(f"{name:36s}" + "".join(f"{format_share([one.agrees for one in some]):>20s}" for some in chosen_turns))


def compare_dialogue(
    predictor: Predictor, conversation: Conversation, folder: Path, options: argparse.Namespace
) -> dict[str, list[Verdict]]:
    """Compare a dialogue's turns, by way of labelling it."""
    turns = sorted(conversation.utterances, key=lambda turn: turn.start or 0.0)
    verdicts: dict[str, list[Verdict]] = {}
    stereo = mix_turns(conversation)
    for channels, samples in (("mono", stereo.sum(axis=1)), ("stereo", stereo)):
        path = folder / f"{conversation.id}-{channels}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        for ending in (*FORMATS, *((WORDLESS,) if options.voice_activity else ())):
            write_transcript(path.with_suffix(ending), [build_segment(turn) for turn in turns])
        for name, how in list_ways(path, options).items():
            recording = Recording.open(path, separate=how.channels == "speakers")
            timeline = recognise(predictor, recording, how)
            labels = {one.id: one.label for one in predictor.predict(conversation, how.modalities).utterances}
            found = timeline.turns if how.transcript else [find_container(turn, timeline) for turn in turns]
            verdicts[f"{channels}, {name}"] = [
                Verdict(
                    one is not None and one.label == labels[turn.id],
                    overlaps,
                    one is None or sum(one is other for other in found) > 1,
                )
                for turn, one, overlaps in zip(turns, found, find_overlaps(turns), strict=True)
            ]
    return verdicts


def list_ways(path: Path, options: argparse.Namespace) -> dict[str, RecognitionOptions]:
    """List the ways to analyse a recording, by the source of its turns."""
    found = {ending: RecognitionOptions(transcript=path.with_suffix(ending)) for ending in FORMATS}
    if options.voice_activity:
        channels, recogniser = (
            "speakers" if path.stem.endswith("stereo") else "mixed",
            SpeechRecogniser(jobs=options.jobs),
        )
        plain = RecognitionOptions(channels=channels, recogniser=recogniser)
        found |= {
            f"{WORDLESS}, words recognised": replace(plain, channels="mixed", transcript=path.with_suffix(WORDLESS)),
            "voice activity": plain,
            "voice activity, speech alone": replace(plain, modalities="audio"),
        }
    return found


def mix_turns(conversation: Conversation) -> np.ndarray:
    """Mix the turns at their times, one speaker per channel: (T, 2) at RATE."""
    speakers = sorted(conversation.speakers)  # two at most; some dialogues of a corpus have one
    end = max(turn.end or 0.0 for turn in conversation.utterances)
    samples = np.zeros((round((end + 1) * RATE), 2), dtype=np.float32)
    for turn in conversation.utterances:
        assert turn.audio is not None
        assert turn.start is not None
        clip, first = io.read_clip(turn.audio, RATE), round(turn.start * RATE)
        samples[first : first + len(clip), speakers.index(turn.speaker)] += clip
    return samples


def build_segment(turn: Utterance) -> Segment:
    return Segment(start=turn.start or 0.0, end=turn.end or 0.0, speaker=turn.speaker, words=turn.words)


def find_overlaps(turns: Sequence[Utterance]) -> list[bool]:
    """Return whether each turn overlaps another."""
    spans = [(turn.start or 0.0, turn.end or 0.0) for turn in turns]
    return [
        any(other != number and start < spans[other][1] and spans[other][0] < end for other in range(len(spans)))
        for number, (start, end) in enumerate(spans)
    ]


def find_container(turn: Utterance, timeline: Timeline) -> TimelineTurn | None:
    """Find the detected turn that contains most of this one, at least half."""
    start, end = turn.start or 0.0, turn.end or 0.0

    def held(found: TimelineTurn) -> float:
        return min(end, found.end or 0.0) - max(start, found.start or 0.0)

    best = max(timeline.turns, key=held)
    return best if held(best) >= (end - start) / 2 else None


def format_share(agree: Sequence[bool]) -> str:
    return f"{sum(agree)} of {len(agree)}, {100 * np.mean(agree):.1f} %" if agree else "none"


if __name__ == "__main__":
    main()
