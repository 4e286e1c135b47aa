"""From a recording to its timeline: turns, words, and an emotion for each in the context of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from moodline.audio import gaps
from moodline.audio.recording import Recording
from moodline.conditions import Conditions
from moodline.config import AUDIO_UTTERANCE, Modalities
from moodline.conversation import AudioClip, Utterance
from moodline.encoding import Encoding
from moodline.errors import MoodlineError
from moodline.inference.conditions import Listener, conditions_of_words, evenly
from moodline.inference.facts import facts_of
from moodline.inference.prediction import UtterancePrediction
from moodline.inference.predictor import Alone, Predictor
from moodline.inference.presence import MODALITY_OF
from moodline.inference.spoken_turns import Progress, SpokenTurns, find_turns, hear_words, in_blocks, untold
from moodline.inference.timeline import Gap, Timeline, TimelineTurn
from moodline.inference.unlike import unlike
from moodline.speech.transcripts.transcript import places
from moodline.speech.turn import Turn
from moodline.speech.turns import Channels
from moodline.text.pieces import pieces_of
from moodline.wording import counted

MEASURED_TURNS = 60  # of a recording, for its conditions: more would only make their medians steadier


@dataclass(frozen=True, kw_only=True, slots=True)
class Hearing:
    """How a recording is listened to.

    Attributes:
        transcript: a file of turns, and of words perhaps; None finds turns by voice activity
        channels: ``mixed``, or ``speakers`` where each channel has a speaker of its own
        recogniser: of words where none are known, see ``speech.recogniser.choose``
        modalities: both, or audio or text alone; of audio alone no words are recognised
        jobs: turns whose words are recognised at a time
        threshold: below this probability a turn is ``uncertain``
        reasons: whether each turn says why
        conversation: of a table of words that has several, the one to label; None of recordings
        progress: of a recording
    """

    transcript: Path | None = None
    channels: Channels = "mixed"
    recogniser: str | None = None
    modalities: Modalities = "both"
    jobs: int = 1
    threshold: float | None = None
    reasons: bool = False
    conversation: str | None = None
    progress: Progress = untold


def recognise(predictor: Predictor, recording: Recording, hearing: Hearing) -> Timeline:
    """The emotions of a recording's turns.

    Memory does not grow with the recording but by its turns and what is said in them.

    Raises:
        MoodlineError: nothing can be read or no speech is found; or of the transcript, the channels, the threshold
    """
    recipe, modalities = predictor.model.recipe, hearing.modalities
    reads = [MODALITY_OF[encoder] for encoder in recipe.stages_in(modalities) if encoder in MODALITY_OF]
    if recipe.reading(modalities).given:
        raise MoodlineError(
            "a recording is read by a model of speech or words, and this one reads embeddings from files"
        )
    predictor.refuse_threshold(hearing.threshold)
    spoken = find_turns(recording, hearing.transcript, hearing.channels)
    if "text" in reads:
        spoken = hear_words(recording, spoken, hearing.recogniser, hearing.jobs, hearing.progress)
        refuse_without_words(recording, spoken, reads)
    utterances = utterances_of(recording, spoken.turns)
    listener = Listener(recipe.audio_utterance.sample_rate)
    alone = encode_in_blocks(predictor, recording, spoken.turns, utterances, hearing, listener)
    conditions = {**listener.conditions, **(words_conditions(predictor, utterances) if "text" in reads else {})}
    predictions = predictor.predict_encoded(
        utterances, alone, modalities, threshold=hearing.threshold, reasons=hearing.reasons
    )
    unheard = told_of_unheard(spoken.turns, recording.gaps) if "audio" in reads else []
    return Timeline(
        recording=Path(recording.name).name,
        duration=recording.duration,
        turns=tuple(map(timeline_turn, spoken.turns, predictions)),
        classes=predictor.classes,
        model=facts_of(predictor.model, predictor.name),
        turns_from=spoken.turns_from,
        words_from=spoken.words_from,
        modalities=tuple(reads),
        threshold=hearing.threshold,
        warnings=(*spoken.notes, *unheard, *unlike(conditions, predictor.model, spoken.language)),
        gaps=tuple(Gap(start=gap.start, end=gap.end, reason=gap.what) for gap in recording.gaps),
    )


def told_of_unheard(turns: Sequence[Turn], missing: Sequence[gaps.Gap]) -> list[str]:
    """A sentence where turns lie wholly within gaps of the recording."""
    lost = [turn for turn in turns if any(gap.start <= turn.start and turn.end <= gap.end for gap in missing)]
    if not lost:
        return []
    where = places([f"{turn.start:.1f} s to {turn.end:.1f} s" for turn in lost])
    return [f"silence was heard in {counted(len(lost), 'turn')} whose sound cannot be read: {where}"]


def refuse_without_words(recording: Recording, spoken: SpokenTurns, reads: Sequence[str]) -> None:
    """Refuse words that nobody said.

    Args:
        reads: the modalities that are to be read

    Raises:
        MoodlineError: there is not a word in any turn
    """
    if not any((turn.words or "").strip() for turn in spoken.turns):
        speech = "with --audio-only" if "audio" in reads else "with a model of speech"
        raise MoodlineError(
            f"a model of words needs some: none were found in the {len(spoken.turns)} turns of {recording.name} by "
            f"{spoken.words_from}; give them with --transcript, or read the speech alone {speech}"
        )


def utterances_of(recording: Recording, turns: Sequence[Turn]) -> list[Utterance]:
    """The turns as a conversation has them; their ids are their positions."""
    return [
        Utterance(
            id=str(position),
            speaker=turn.speaker,
            words=turn.words or "",
            audio=AudioClip(
                path=Path(recording.name),
                offset=turn.start,
                duration=turn.end - turn.start,
                sample_rate=recording.sample_rate,
            ),
            start=turn.start,
            end=turn.end,
        )
        for position, turn in enumerate(turns)
    ]


def encode_in_blocks(
    predictor: Predictor,
    recording: Recording,
    turns: Sequence[Turn],
    utterances: Sequence[Utterance],
    hearing: Hearing,
    listener: Listener,
) -> Alone:
    """Each turn by itself, read and encoded some at a time so that a long recording's sound is never in memory.

    Args:
        listener: hears some of the turns' sound, where any is read
    """
    modalities = hearing.modalities
    if AUDIO_UTTERANCE not in predictor.model.recipe.stages_in(modalities):
        return predictor.encode_alone(utterances, modalities=modalities)
    remaining, measured = iter(utterances), {one.id for one in evenly(utterances, MEASURED_TURNS)}
    blocks: list[Alone] = []
    read = 0
    for block, waveforms in in_blocks(recording, turns, predictor.model.recipe.audio_utterance.sample_rate):
        chosen = [next(remaining) for _ in block]
        for utterance, waveform in zip(chosen, waveforms, strict=True):
            if utterance.id in measured:
                listener.hear(waveform)
        heard = {one.id: torch.from_numpy(waveform) for one, waveform in zip(chosen, waveforms, strict=True)}
        blocks.append(
            predictor.encode_alone(chosen, lambda utterance, rate, heard=heard: heard[utterance.id], modalities)
        )
        read += len(block)
        hearing.progress("turns read", read, len(utterances))
    return joined(blocks)


def words_conditions(predictor: Predictor, utterances: Sequence[Utterance]) -> Conditions:
    """What the turns' words are to the model's own tokenizer."""
    assert predictor.model.tokenizer is not None, "a model of words is loaded with its tokenizer"
    words = [one.words for one in evenly(utterances, MEASURED_TURNS)]
    return conditions_of_words(pieces_of(words, predictor.model.tokenizer))


def joined(blocks: Sequence[Alone]) -> Alone:
    """Blocks of utterances (N_i, ...) as one: (N, ...)."""
    first = blocks[0]
    return Alone(
        {
            stage: Encoding(*(torch.cat(rows) for rows in zip(*(one.encodings[stage] for one in blocks), strict=True)))
            for stage in first.encodings
        },
        {encoder: torch.cat([one.embeddings[encoder] for one in blocks]) for encoder in first.embeddings},
    )


def timeline_turn(turn: Turn, prediction: UtterancePrediction) -> TimelineTurn:
    return TimelineTurn(
        start=turn.start,
        end=turn.end,
        speaker=turn.speaker,
        words=turn.words,
        label=prediction.label,
        probabilities=prediction.probabilities,
        channel=turn.channel,
        reasons=prediction.reasons,
    )
