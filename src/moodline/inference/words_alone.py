"""From words without a recording to their timeline, and which of both a file is."""

from pathlib import Path

import numpy as np

from moodline.audio.recording import recording_of
from moodline.errors import MoodlineError
from moodline.inference.facts import facts_of
from moodline.inference.predictor import Predictor
from moodline.inference.recognise import Hearing, recognise, words_conditions
from moodline.inference.timeline import Timeline, TimelineTurn
from moodline.inference.unlike import unlike
from moodline.speech.transcripts.chat import is_chat, read_chat


def timeline_of(
    predictor: Predictor, source: str | Path | np.ndarray, sample_rate: int | None, hearing: Hearing
) -> Timeline:
    """A recording's timeline, or that of words alone, whichever the source holds.

    Raises:
        MoodlineError: as of ``recognise`` and ``label_words``, or an option does not fit what the source holds
    """
    if not isinstance(source, str | Path) or not is_chat(Path(source)):
        refuse_unfit(source, hearing)
        return recognise(predictor, recording_of(source, sample_rate), hearing)
    return label_words(predictor, Path(source), hearing)


def label_words(predictor: Predictor, path: Path, hearing: Hearing) -> Timeline:
    """The emotions of a table's or a transcript's turns, from their words alone.

    Turns have times where the file tells both ends of all.

    Raises:
        MoodlineError: it holds no words (``read_chat``); the model reads none, or embeddings in their place; or an
            option is of recordings
    """
    refuse_unfit(path, hearing)
    if predictor.model.recipe.reading("text").given:
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
        model=facts_of(predictor.model, predictor.name),
        turns_from=f"{path.name} ({chat.format})",
        words_from=path.name,
        modalities=("text",),
        threshold=hearing.threshold,
        warnings=(*chat.notes, *unlike(words_conditions(predictor, chat.conversation.utterances), predictor.model)),
    )


def refuse_unfit(source: str | Path | np.ndarray, hearing: Hearing) -> None:
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
