"""From a recording, or words alone, to a timeline of emotions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moodline.audio import decoders
from moodline.audio.recording import Recording, open_recording
from moodline.audio.vad import Channels
from moodline.config import AUDIO_UTTERANCE, Modalities
from moodline.conversation import AudioClip, Segment, Utterance
from moodline.errors import MoodlineError, format_count
from moodline.inference.domain_shift import (
    StatisticsCollector,
    compute_word_statistics,
    find_domain_shift,
    sample_evenly,
)
from moodline.inference.encode import MODALITY_BY_ENCODER
from moodline.inference.predictor import Predictor, UtteranceEncodings
from moodline.inference.transcribe import (
    ProgressCallback,
    Transcription,
    find_turns,
    iter_blocks,
    no_progress,
    recognise_words,
)
from moodline.modeling.batching import Encoding
from moodline.modeling.checkpoint import DataStatistics, TrainedModel
from moodline.modeling.text_encoder import count_pieces
from moodline.timeline import Gap, ModelFacts, Timeline, TimelineTurn
from moodline.timeline.timeline import UtterancePrediction
from moodline.transcripts.chat import is_chat, read_chat
from moodline.transcripts.transcript import format_places

SYNTHETIC_NOTES = {"demo": "this model was trained on synthetic voices: what it says of people means nothing"}
"""By the reader of the corpus that a model was trained on."""


def describe_model(model: TrainedModel, name: str) -> ModelFacts:
    """Its name, what it was trained on, and what stands beside all that it says."""
    provenance = model.provenance
    synthetic = [SYNTHETIC_NOTES[provenance.corpus_reader]] if provenance.corpus_reader in SYNTHETIC_NOTES else []
    return ModelFacts(
        name=name,
        trained_on=f"{provenance.corpus_reader} ({len(provenance.trained_on)} conversations)",
        licence=provenance.licence_text,
        notes=(*synthetic, *provenance.notes),
    )


MAX_MEASURED_TURNS = 60  # of a recording, for its conditions: more would only make their medians steadier


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognitionOptions:
    """How a recording is listened to.

    Attributes:
        transcript: a file of turns, and of words perhaps; None finds turns by voice activity
        channels: ``mixed``, or ``speakers`` where each channel has a speaker of its own
        recogniser: of words where none are known, see ``speech.recogniser.choose_recogniser``
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
    progress: ProgressCallback = no_progress


def recognise(predictor: Predictor, recording: Recording, hearing: RecognitionOptions) -> Timeline:
    """The emotions of a recording's turns.

    Memory does not grow with the recording but by its turns and what is said in them.

    Raises:
        MoodlineError: nothing can be read or no speech is found; or of the transcript, the channels, the threshold
    """
    recipe, modalities = predictor.model.recipe, hearing.modalities
    reads = [
        MODALITY_BY_ENCODER[encoder] for encoder in recipe.select_stages(modalities) if encoder in MODALITY_BY_ENCODER
    ]
    if recipe.restrict_to(modalities).given:
        raise MoodlineError(
            "a recording is read by a model of speech or words, and this one reads embeddings from files"
        )
    predictor.refuse_threshold(hearing.threshold)
    spoken = find_turns(recording, hearing.transcript, hearing.channels)
    if "text" in reads:
        device = str(predictor.device)
        spoken = recognise_words(recording, spoken, hearing.recogniser, hearing.jobs, hearing.progress, device)
        refuse_missing_words(recording, spoken, reads)
    utterances = build_utterances(recording, spoken.turns)
    listener = StatisticsCollector(recipe.audio_utterance.sample_rate)
    alone = encode_in_blocks(predictor, recording, spoken.turns, utterances, hearing, listener)
    conditions = {
        **listener.statistics,
        **(compute_utterance_statistics(predictor, utterances) if "text" in reads else {}),
    }
    predictions = predictor.predict_encoded(
        utterances, alone, modalities, threshold=hearing.threshold, reasons=hearing.reasons
    )
    unheard = note_missing_audio(spoken.turns, recording.gaps) if "audio" in reads else []
    return Timeline(
        recording=Path(recording.name).name,
        duration=recording.duration,
        turns=tuple(map(build_timeline_turn, spoken.turns, predictions)),
        classes=predictor.classes,
        model=describe_model(predictor.model, predictor.name),
        turns_from=spoken.turns_from,
        words_from=spoken.words_from,
        modalities=tuple(reads),
        threshold=hearing.threshold,
        warnings=(*spoken.notes, *unheard, *find_domain_shift(conditions, predictor.model, spoken.language)),
        gaps=tuple(Gap(start=gap.start, end=gap.end, reason=gap.what) for gap in recording.gaps),
    )


def note_missing_audio(turns: Sequence[Segment], missing: Sequence[decoders.AudioGap]) -> list[str]:
    """A sentence where turns lie wholly within gaps of the recording."""
    lost = [turn for turn in turns if any(gap.start <= turn.start and turn.end <= gap.end for gap in missing)]
    if not lost:
        return []
    where = format_places([f"{turn.start:.1f} s to {turn.end:.1f} s" for turn in lost])
    return [f"silence was heard in {format_count(len(lost), 'turn')} whose sound cannot be read: {where}"]


def refuse_missing_words(recording: Recording, spoken: Transcription, reads: Sequence[str]) -> None:
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


def build_utterances(recording: Recording, turns: Sequence[Segment]) -> list[Utterance]:
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
    turns: Sequence[Segment],
    utterances: Sequence[Utterance],
    hearing: RecognitionOptions,
    listener: StatisticsCollector,
) -> UtteranceEncodings:
    """Each turn by itself, read and encoded some at a time so that a long recording's sound is never in memory.

    Args:
        listener: hears some of the turns' sound, where any is read
    """
    modalities = hearing.modalities
    if AUDIO_UTTERANCE not in predictor.model.recipe.select_stages(modalities):
        return predictor.encode_utterances(utterances, modalities=modalities)
    remaining, measured = iter(utterances), {one.id for one in sample_evenly(utterances, MAX_MEASURED_TURNS)}
    blocks: list[UtteranceEncodings] = []
    read = 0
    for block, waveforms in iter_blocks(recording, turns, predictor.model.recipe.audio_utterance.sample_rate):
        chosen = [next(remaining) for _ in block]
        for utterance, waveform in zip(chosen, waveforms, strict=True):
            if utterance.id in measured:
                listener.hear(waveform)
        heard = {one.id: torch.from_numpy(waveform) for one, waveform in zip(chosen, waveforms, strict=True)}
        blocks.append(
            predictor.encode_utterances(chosen, lambda utterance, rate, heard=heard: heard[utterance.id], modalities)
        )
        read += len(block)
        hearing.progress("turns read", read, len(utterances))
    return join_encodings(blocks)


def compute_utterance_statistics(predictor: Predictor, utterances: Sequence[Utterance]) -> DataStatistics:
    """What the turns' words are to the model's own tokenizer."""
    assert predictor.model.tokenizer is not None, "a model of words is loaded with its tokenizer"
    words = [one.words for one in sample_evenly(utterances, MAX_MEASURED_TURNS)]
    return compute_word_statistics(count_pieces(words, predictor.model.tokenizer))


def join_encodings(blocks: Sequence[UtteranceEncodings]) -> UtteranceEncodings:
    """Blocks of utterances (N_i, ...) as one: (N, ...)."""
    first = blocks[0]
    return UtteranceEncodings(
        {
            stage: Encoding(*(torch.cat(rows) for rows in zip(*(one.encodings[stage] for one in blocks), strict=True)))
            for stage in first.encodings
        },
        {encoder: torch.cat([one.embeddings[encoder] for one in blocks]) for encoder in first.embeddings},
    )


def build_timeline_turn(turn: Segment, prediction: UtterancePrediction) -> TimelineTurn:
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


def create_timeline(
    predictor: Predictor, source: str | Path | np.ndarray, sample_rate: int | None, hearing: RecognitionOptions
) -> Timeline:
    """A recording's timeline, or that of words alone, whichever the source holds.

    Raises:
        MoodlineError: as of ``recognise`` and ``label_words``, or an option does not fit what the source holds
    """
    if not isinstance(source, str | Path) or not is_chat(Path(source)):
        refuse_unfit_options(source, hearing)
        return recognise(predictor, open_recording(source, sample_rate), hearing)
    return label_words(predictor, Path(source), hearing)


def label_words(predictor: Predictor, path: Path, hearing: RecognitionOptions) -> Timeline:
    """The emotions of a table's or a transcript's turns, from their words alone.

    Turns have times where the file tells both ends of all.

    Raises:
        MoodlineError: it holds no words (``read_chat``); the model reads none, or embeddings in their place; or an
            option is of recordings
    """
    refuse_unfit_options(path, hearing)
    if predictor.model.recipe.restrict_to("text").given:
        raise MoodlineError(
            f"{path} holds words, and this model reads embeddings from files in their place: make a corpus of it with "
            "moodline prepare table, and label that"
        )
    chat = read_chat(path, hearing.conversation)
    prediction = predictor.predict(chat.conversation, "text", threshold=hearing.threshold, reasons=hearing.reasons)
    return Timeline(
        recording=path.name,
        duration=None,
        turns=tuple(
            TimelineTurn(
                start=one.start,
                end=one.end,
                speaker=one.speaker,
                words=one.words,
                label=one.label,
                probabilities=one.probabilities,
                reasons=one.reasons,
            )
            for one in prediction.utterances
        ),
        classes=predictor.classes,
        model=describe_model(predictor.model, predictor.name),
        turns_from=f"{path.name} ({chat.format})",
        words_from=path.name,
        modalities=("text",),
        threshold=hearing.threshold,
        warnings=(
            *chat.notes,
            *find_domain_shift(compute_utterance_statistics(predictor, chat.conversation.utterances), predictor.model),
        ),
    )


def refuse_unfit_options(source: str | Path | np.ndarray, hearing: RecognitionOptions) -> None:
    """Refuse what is asked of a recording where there are words alone, and the other way round.

    Raises:
        MoodlineError: names the option
    """
    if not isinstance(source, str | Path) or not is_chat(Path(source)):
        if hearing.conversation is not None:
            raise MoodlineError(
                f"--conversation names one of a corpus or of a table of words, and "
                f"{'an array' if isinstance(source, np.ndarray) else source} is neither: leave it out"
            )
        return
    of_recordings = {
        "--transcript": hearing.transcript is not None,
        "--channels": hearing.channels != "mixed",
        "--recogniser": hearing.recogniser is not None,
        "--audio-only": hearing.modalities == "audio",
    }
    for option, given in of_recordings.items():
        if given:
            raise MoodlineError(f"{source} holds words and no sound: leave out {option}, or give a recording")
