"""From a recording, or from words without one, to a timeline of emotions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moodline.audio.recording import Recording
from moodline.audio.vad import Channels
from moodline.config import TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import UNKNOWN, AudioClip, Conversation, Segment, Utterance
from moodline.errors import MoodlineError, format_count, format_option
from moodline.inference import domain_shift
from moodline.inference.encode import MODALITY_BY_ENCODER
from moodline.inference.predictor import Predictor, UtteranceEncodings
from moodline.inference.transcribe import ProgressCallback, Speakers, find_turns, no_progress
from moodline.modeling.description import DataStatistics
from moodline.modeling.model import ENCODER_BY_STAGE
from moodline.modeling.text_encoder import count_pieces
from moodline.speech.asr import SpeechRecogniser
from moodline.timeline import Timeline, TimelineTurn
from moodline.timeline.timeline import UtterancePrediction
from moodline.transcripts.formats import Chat, is_chat, read_chat
from moodline.transcripts.transcript import format_places

MAX_MEASURED_TURNS = 60  # of a recording, for the comparison with the training data: medians of more differ little


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognitionOptions:
    """How a recording, or words without one, become a timeline; see ``moodline.Model`` too."""

    transcript: str | Path | None = None  # a file of turns, with or without words; None finds turns by voice activity
    channels: Channels = "mixed"  # speakers: each channel has its own speaker
    speakers: Speakers = "none"  # auto or their number finds who speaks, where no transcript says it
    names: Mapping[str, str] = field(default_factory=dict[str, str])  # of speakers, by the number or the name they have
    recogniser: SpeechRecogniser = field(default_factory=SpeechRecogniser)  # of words that no transcript has
    modalities: Modalities = "both"  # audio recognises no words
    threshold: float | None = None
    reasons: bool = False
    conversation: str | None = None  # the one to predict in a table of words that has several
    progress: ProgressCallback = no_progress  # receives the number of finished turns


def holds_words_alone(source: str | Path | np.ndarray, options: RecognitionOptions) -> bool:
    """Return whether a source is words without sound; refuse options that do not fit it."""
    if isinstance(source, str | Path) and is_chat(Path(source)):
        refuse_recording_options(str(source), options)
        return True
    if options.conversation is not None:
        name = "an array" if isinstance(source, np.ndarray) else source
        raise MoodlineError(
            f"{name} is not a table of words: leave out {format_option('conversation')}", code="option.not_a_table"
        )
    return False


def refuse_recording_options(source: str, options: RecognitionOptions) -> None:
    """Refuse options that only recordings have."""
    unfit = {
        format_option("transcript"): options.transcript is not None,
        format_option("channels"): options.channels != "mixed",
        format_option("speakers"): options.speakers != "none",
        format_option("names"): bool(options.names),
        format_option("recogniser"): options.recogniser.named is not None,
        format_option("modalities", "audio"): options.modalities == "audio",
    }
    for option in (option for option, is_set in unfit.items() if is_set):
        raise MoodlineError(
            f"{source} holds words and no sound: leave out {option}, or give a recording", code="option.not_a_recording"
        )


def recognise(predictor: Predictor, recording: Recording, options: RecognitionOptions) -> Timeline:
    """Predict a recording's turns; of what is kept in memory, only turns and words grow with its length."""
    model, stages = predictor.model, predictor.model.recipe.select_stages(options.modalities)
    encoders = [encoder for stage, encoder in ENCODER_BY_STAGE.items() if stage in stages]
    modalities = tuple(MODALITY_BY_ENCODER[encoder] for encoder in encoders)
    if not set(encoders) <= set(stages):
        raise MoodlineError(
            f"this model reads embeddings from files: use another for {recording.name}", code="model.reads_embeddings"
        )
    threshold = predictor.choose_threshold(options.threshold)
    recogniser = options.recogniser if "text" in modalities else None
    found = find_turns(
        recording,
        options.transcript,
        options.channels,
        recogniser,
        options.progress,
        options.speakers,
        options.names,
    )
    if recogniser is not None and not any((turn.words or "").strip() for turn in found.turns):
        raise MoodlineError(
            f"{found.words_from} found no words in the {len(found.turns)} turns of {recording.name}: give them "
            f"with {format_option('transcript')}, or predict from speech",
            code="model.no_words",
        )
    utterances, encoded, statistics = encode_turns(predictor, recording, found.turns, options)
    predictions = predictor.predict_encoded(
        utterances, encoded, options.modalities, threshold=threshold, reasons=options.reasons
    )
    notes, gaps = list(found.notes), recording.gaps
    lost = [turn for turn in found.turns if any(gap.start <= turn.start and turn.end <= gap.end for gap in gaps)]
    if lost and "audio" in modalities:
        places = format_places([f"{turn.start:.1f} s to {turn.end:.1f} s" for turn in lost])
        notes.append(f"audio of {format_count(len(lost), 'turn')} could not be decoded; silence was used: {places}")
    return build_timeline(
        predictor,
        found.turns,
        predictions,
        recording=Path(recording.name).name,
        duration=recording.duration,
        turns_from=found.turns_from,
        words_from=found.words_from,
        modalities=modalities,
        threshold=threshold,
        warnings=(
            *notes,
            *note_unknown_speakers(found.turns, model.recipe, options.modalities),
            *domain_shift.find_domain_shift(statistics, model, found.language),
        ),
        gaps=gaps,
    )


def note_unknown_speakers(turns: Sequence[Segment | Utterance], recipe: Recipe, modalities: Modalities) -> list[str]:
    """Write a sentence if a part that reads each speaker's turns alone does not know who speaks some of them."""
    unknown = sum(turn.speaker == UNKNOWN for turn in turns)
    if not unknown or not recipe.reads_each_speaker(modalities):
        return []
    verb, them = ("has", "it") if unknown == 1 else ("have", "them")
    return [
        f"{format_count(unknown, 'turn')} of {len(turns):,} {verb} no known speaker: the part of the model that reads "
        f"each speaker's turns alone leaves {them} out; name the speakers in the transcript"
    ]


def encode_turns(
    predictor: Predictor, recording: Recording, turns: Sequence[Segment], options: RecognitionOptions
) -> tuple[list[Utterance], UtteranceEncodings, DataStatistics]:
    """Encode a recording's turns without context, and measure a sample of them; an utterance's id is its position."""
    path, rate = Path(recording.name), recording.sample_rate
    clips = [AudioClip(path=path, offset=one.start, duration=one.end - one.start, sample_rate=rate) for one in turns]
    utterances = [
        Utterance(id=str(place), speaker=one.speaker, words=one.words or "", audio=clip, start=one.start, end=one.end)
        for place, (one, clip) in enumerate(zip(turns, clips, strict=True))
    ]
    sample = domain_shift.sample_evenly(utterances, MAX_MEASURED_TURNS)
    sampled, done = {utterance.id for utterance in sample}, count(1)
    qualities: list[DataStatistics] = []

    def read(utterance: Utterance, sample_rate: int) -> Tensor:
        turn = turns[int(utterance.id)]
        waveform = recording.clip(turn.start, turn.end, sample_rate, turn.channel)
        if utterance.id in sampled:
            qualities.append(domain_shift.measure_quality(waveform, sample_rate))
        options.progress("turns read", next(done), len(utterances))
        return torch.from_numpy(waveform)

    encoded = predictor.encode_utterances(utterances, options.modalities, read)
    tokenizer = predictor.model.tokenizer if TEXT_UTTERANCE in encoded.encodings else None
    counts = count_pieces([one.words for one in sample], tokenizer) if tokenizer is not None else None
    return utterances, encoded, domain_shift.compute_statistics(qualities, counts)


def build_timeline(
    predictor: Predictor, turns: Sequence[Segment | Utterance], predictions: Sequence[UtterancePrediction], **facts: Any
) -> Timeline:
    """Build the timeline of turns and their predictions; ``facts`` are its other attributes."""
    return Timeline(
        turns=tuple(
            TimelineTurn(
                start=turn.start,
                end=turn.end,
                speaker=turn.speaker,
                words=turn.words,
                channel=turn.channel if isinstance(turn, Segment) else None,
                label=prediction.label,
                probabilities=prediction.probabilities,
                reasons=prediction.reasons,
            )
            for turn, prediction in zip(turns, predictions, strict=True)
        ),
        classes=predictor.classes,
        model=predictor.facts,
        **facts,
    )


def label_words(predictor: Predictor, source: Path | Sequence[str], options: RecognitionOptions) -> Timeline:
    """Predict turns from their words: those of a table or a transcript, or texts of two speakers who alternate."""
    if isinstance(source, Path):
        chat, name = read_chat(source, options.conversation), source.name
        turns_from = f"{name} ({chat.format})"
    else:
        refuse_recording_options("a list of texts", options)
        if not any(text.strip() for text in source):
            raise MoodlineError("the texts have no words; give at least one word", code="transcript.no_words")
        turns = [
            Utterance(id=str(position), speaker=f"{UNKNOWN} {position % 2 + 1}", words=" ".join(text.split()))
            for position, text in enumerate(source)
        ]
        name = turns_from = "texts"
        chat = Chat(Conversation(id=name, utterances=tuple(turns)), name, ())
    predictor.model.recipe.restrict_to(options.modalities)  # refuses an unknown one
    if predictor.model.recipe.restrict_to("text").given:
        raise MoodlineError(
            f"this model reads embeddings from files: make a corpus of {name} with moodline prepare table",
            code="model.reads_embeddings",
        )
    utterances, tokenizer = chat.conversation.utterances, predictor.model.tokenizer
    assert tokenizer is not None, "a model of words is loaded with its tokenizer"
    words = [utterance.words for utterance in domain_shift.sample_evenly(utterances, MAX_MEASURED_TURNS)]
    statistics = domain_shift.compute_statistics(counts=count_pieces(words, tokenizer))
    threshold = predictor.choose_threshold(options.threshold)
    prediction = predictor.predict(chat.conversation, "text", threshold=threshold, reasons=options.reasons)
    return build_timeline(
        predictor,
        utterances,
        prediction.utterances,
        recording=name,
        duration=None,
        turns_from=turns_from,
        words_from=name,
        modalities=("text",),
        threshold=threshold,
        warnings=(
            *chat.notes,
            *note_unknown_speakers(utterances, predictor.model.recipe, "text"),
            *domain_shift.find_domain_shift(statistics, predictor.model),
        ),
    )
