"""From a recording, or words alone, to a timeline of emotions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moodline.asr import SpeechRecogniser
from moodline.audio import decoders
from moodline.audio.recording import Recording
from moodline.audio.vad import Channels
from moodline.config import Modalities
from moodline.conversation import UNKNOWN, AudioClip, Conversation, Segment, Utterance
from moodline.errors import MoodlineError, format_count
from moodline.inference.domain_shift import (
    StatisticsCollector,
    compute_word_statistics,
    find_domain_shift,
    sample_evenly,
)
from moodline.inference.encode import MODALITY_BY_ENCODER
from moodline.inference.predictor import Predictor
from moodline.inference.transcribe import ProgressCallback, find_turns, no_progress, recognise_words
from moodline.modeling.checkpoint import DataStatistics, TrainedModel
from moodline.modeling.text_encoder import count_pieces
from moodline.timeline import Gap, ModelFacts, Timeline, TimelineTurn
from moodline.transcripts.chat import Chat, is_chat, read_chat
from moodline.transcripts.transcript import format_places

MAX_MEASURED_TURNS = 60  # of a recording, for its conditions: more would only make their medians steadier
SYNTHETIC_NOTES = {"demo": "this model was trained on synthetic voices: what it says of people means nothing"}
"""By the reader of the corpus that a model was trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognitionOptions:
    """How a recording, or words alone, become a timeline.

    Attributes:
        transcript: a file of turns, and of words perhaps; None finds turns by voice activity
        channels: ``mixed``, or ``speakers`` where each channel has a speaker of its own
        recogniser: of words that no transcript has; loaded when it is first needed, and then kept
        modalities: both, or audio or text alone; for audio alone no words are recognised
        threshold: below this probability a turn is ``uncertain``
        reasons: whether each turn says why
        conversation: the one to label in a table of words that has several; None for recordings
        progress: receives how many turns are done
    """

    transcript: str | Path | None = None
    channels: Channels = "mixed"
    recogniser: SpeechRecogniser = field(default_factory=SpeechRecogniser)
    modalities: Modalities = "both"
    threshold: float | None = None
    reasons: bool = False
    conversation: str | None = None
    progress: ProgressCallback = no_progress


def holds_words_alone(source: str | Path | np.ndarray, options: RecognitionOptions) -> bool:
    """Whether a source is words without sound; refuse options that do not fit what it is.

    Raises:
        MoodlineError: names the option
    """
    if not isinstance(source, str | Path) or not is_chat(Path(source)):
        if options.conversation is not None:
            raise MoodlineError(
                f"--conversation names one of a corpus or of a table of words, and "
                f"{'an array' if isinstance(source, np.ndarray) else source} is neither: leave it out"
            )
        return False
    refuse_recording_options(str(source), options)
    return True


def refuse_recording_options(source: str, options: RecognitionOptions) -> None:
    """Refuse options that only recordings have.

    Raises:
        MoodlineError: names the option
    """
    of_recordings = {
        "--transcript": options.transcript is not None,
        "--channels": options.channels != "mixed",
        "--recogniser": options.recogniser.named is not None,
        "--modalities audio": options.modalities == "audio",
    }
    for option, given in of_recordings.items():
        if given:
            raise MoodlineError(
                f"{source} holds words and no sound: leave out {option}, or give a recording",
                code="option.not_a_recording",
            )


def recognise(predictor: Predictor, recording: Recording, options: RecognitionOptions) -> Timeline:
    """Label a recording's turns.

    Memory does not grow with the recording but by its turns and their words.

    Raises:
        MoodlineError: nothing can be read or no speech is found; or of the transcript, the channels, the threshold
    """
    recipe, modalities = predictor.model.recipe, options.modalities
    reads = [
        MODALITY_BY_ENCODER[encoder] for encoder in recipe.select_stages(modalities) if encoder in MODALITY_BY_ENCODER
    ]
    if recipe.restrict_to(modalities).given:
        raise MoodlineError(
            "a recording is read by a model of speech or words, and this one reads embeddings from files"
        )
    predictor.refuse_threshold(options.threshold)
    spoken = find_turns(recording, options.transcript, options.channels)
    if "text" in reads:
        spoken = recognise_words(recording, spoken, options.recogniser, options.progress)
        if not spoken.turns_with_words:
            speech = "with --modalities audio" if "audio" in reads else "with a model of speech"
            raise MoodlineError(
                f"a model of words needs some: none were found in the {len(spoken.turns)} turns of {recording.name} by "
                f"{spoken.words_from}; give them with --transcript, or read the speech alone {speech}"
            )
    utterances = build_utterances(recording, spoken.turns)
    listener, read = StatisticsCollector(recipe.audio_utterance.sample_rate), count(1)
    measured = {one.id for one in sample_evenly(utterances, MAX_MEASURED_TURNS)}

    def sound(utterance: Utterance, sample_rate: int) -> Tensor:
        turn = spoken.turns[int(utterance.id)]
        waveform = recording.clip(turn.start, turn.end, sample_rate, turn.channel)
        if utterance.id in measured:
            listener.hear(waveform)
        options.progress("turns read", next(read), len(utterances))
        return torch.from_numpy(waveform)

    alone = predictor.encode_utterances(utterances, sound, modalities)
    predictions = predictor.predict_encoded(
        utterances, alone, modalities, threshold=options.threshold, reasons=options.reasons
    )
    conditions = {
        **listener.statistics,
        **(compute_utterance_statistics(predictor, utterances) if "text" in reads else {}),
    }
    unreadable = note_unreadable(spoken.turns, recording.gaps) if "audio" in reads else []
    return Timeline(
        recording=Path(recording.name).name,
        duration=recording.duration,
        turns=tuple(
            TimelineTurn(
                start=turn.start,
                end=turn.end,
                speaker=turn.speaker,
                words=turn.words,
                label=prediction.label,
                probabilities=prediction.probabilities,
                channel=turn.channel,
                reasons=prediction.reasons,
            )
            for turn, prediction in zip(spoken.turns, predictions, strict=True)
        ),
        classes=predictor.classes,
        model=describe_model(predictor.model, predictor.name),
        turns_from=spoken.turns_from,
        words_from=spoken.words_from,
        modalities=tuple(reads),
        threshold=options.threshold,
        warnings=(*spoken.notes, *unreadable, *find_domain_shift(conditions, predictor.model, spoken.language)),
        gaps=tuple(Gap(start=gap.start, end=gap.end, reason=gap.what) for gap in recording.gaps),
    )


def label_words(predictor: Predictor, path: Path, options: RecognitionOptions) -> Timeline:
    """Label a table's or a transcript's turns from their words alone.

    Turns have times where the file has both ends of all.

    Raises:
        MoodlineError: it holds no words (``read_chat``); the model reads none, or embeddings in their place
    """
    return label_chat(predictor, read_chat(path, options.conversation), options, path.name)


def build_chat(texts: Sequence[str]) -> Chat:
    """Build a conversation of texts, the turns of two unknown speakers who alternate.

    Raises:
        MoodlineError: no text has words
    """
    if not any(text.strip() for text in texts):
        raise MoodlineError("the texts have no words; give at least one word", code="transcript.no_words")
    utterances = tuple(
        Utterance(id=str(position), speaker=f"{UNKNOWN} {position % 2 + 1}", words=" ".join(text.split()))
        for position, text in enumerate(texts)
    )
    return Chat(Conversation(id="texts", utterances=utterances), "texts", ())


def label_chat(predictor: Predictor, chat: Chat, options: RecognitionOptions, name: str = "") -> Timeline:
    """Label turns from their words alone.

    Args:
        name: of the file that the turns come from; empty for texts

    Raises:
        MoodlineError: the model does not read words, or reads embeddings instead; an option is for recordings
    """
    if predictor.model.recipe.restrict_to("text").given:
        raise MoodlineError(
            f"{name or chat.format} holds words, and this model reads embeddings from files in their place: make a "
            "corpus of it with moodline prepare table, and label that"
        )
    prediction = predictor.predict(chat.conversation, "text", threshold=options.threshold, reasons=options.reasons)
    return Timeline(
        recording=name or chat.format,
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
        turns_from=f"{name} ({chat.format})" if name else chat.format,
        words_from=name or chat.format,
        modalities=("text",),
        threshold=options.threshold,
        warnings=(
            *chat.notes,
            *find_domain_shift(compute_utterance_statistics(predictor, chat.conversation.utterances), predictor.model),
        ),
    )


def describe_model(model: TrainedModel, name: str) -> ModelFacts:
    """Collect a model's name, its training corpus, and the notes that accompany all its predictions."""
    provenance = model.provenance
    synthetic = [SYNTHETIC_NOTES[provenance.corpus_reader]] if provenance.corpus_reader in SYNTHETIC_NOTES else []
    return ModelFacts(
        name=name,
        trained_on=f"{provenance.corpus_reader} ({len(provenance.trained_on)} conversations)",
        licence=provenance.licence_text,
        notes=(*synthetic, *provenance.notes),
    )


def note_unreadable(turns: Sequence[Segment], missing: Sequence[decoders.AudioGap]) -> list[str]:
    """Name the turns that lie wholly within gaps of the recording, in a sentence, if there are any."""
    lost = [turn for turn in turns if any(gap.start <= turn.start and turn.end <= gap.end for gap in missing)]
    if not lost:
        return []
    where = format_places([f"{turn.start:.1f} s to {turn.end:.1f} s" for turn in lost])
    return [f"audio of {format_count(len(lost), 'turn')} could not be decoded, and silence was used: {where}"]


def build_utterances(recording: Recording, turns: Sequence[Segment]) -> list[Utterance]:
    """Give turns as a conversation has them; their ids are their positions."""
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


def compute_utterance_statistics(predictor: Predictor, utterances: Sequence[Utterance]) -> DataStatistics:
    """Measure the turns' words by the model's own tokenizer."""
    assert predictor.model.tokenizer is not None, "a model of words is loaded with its tokenizer"
    words = [one.words for one in sample_evenly(utterances, MAX_MEASURED_TURNS)]
    return compute_word_statistics(count_pieces(words, predictor.model.tokenizer))
