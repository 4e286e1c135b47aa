"""The evaluation of a system that never was: all that a report is written from, in any shape."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from moodline.conversation import Conversation, Utterance
from moodline.evaluation.predictions import build_schema
from moodline.evaluation.reliability import add_reliability
from moodline.evaluation.scores import STAGES, score_predictions

CLASSES = ("angry", "happy", '<b>sad & "tired"</b>')
WORDS = 'I said <script>alert("no")</script> & meant $x$ it'


def made_up(
    stages: Sequence[str] = tuple(STAGES),
    *,
    folds: int = 2,
    classes: Sequence[str] = CLASSES,
    talks: int = 8,
    turns: int = 9,
    speakers: Sequence[str] = ("Ses1F", "Ses1M", "Ses2<F>", "Ses2M"),
    words: str = WORDS,
    timed: bool = True,
    sessions: bool = True,
    resamples: int = 50,
) -> tuple[dict[str, Any], dict[str, Any], pa.Table, tuple[Conversation, ...]]:
    """The content of results.json, learning curves, predictions and conversations: what ``write_report`` takes.

    Every tenth turn has no label. Labels go round the classes.
    """
    conversations = tuple(
        Conversation(
            id=f"talk{talk}",
            session=f"{talk % 2}" if sessions else None,
            part=("improvised", "scripted")[talk // folds % 2],
            utterances=tuple(
                Utterance(
                    id=f"turn{turn}",
                    speaker=speakers[(2 * talk + turn % 2) % len(speakers)],
                    words=words,
                    start=2.5 * turn if timed else None,
                    end=2.5 * turn + 2 if timed else None,
                    label=classes[turn % len(classes)] if turn % 10 < 9 else None,
                )
                for turn in range(turns)
            ),
        )
        for talk in range(talks)
    )
    predictions = predictions_of(conversations, stages, folds, classes)
    count = {"conversations": talks // 2, "utterances": 1234, "classes": dict.fromkeys(classes, 411)}
    results = {
        "schema": 1,
        "protocol": "cv2",
        "label_set": {"name": "three", "version": 7, "classes": list(classes)},
        "context": "labelled",
        "corpus": {
            "reader": "play",
            "table_hash": "0123abcd",
            "conversations": talks,
            "utterances": talks * turns,
            "source": "a <tree>",
        },
        "recipe": "tiny",
        "seed": 5,
        "versions": {"moodline": "0.0.1", "torch": "9.9"},
        "created": "2031-02-03T04:05:06+00:00",
        "folds": [
            {"name": f"fold{fold}", "hash": f"beef{fold}", "train": count, "validation": count, "test": count}
            for fold in range(folds)
        ],
        **asdict(score_predictions(predictions, classes, resamples=resamples)),
    }
    curves = {f"fold{fold}": {stage: epochs() for stage in stages if stage != "majority"} for fold in range(folds)}
    results = add_reliability(results, predictions)
    return json.loads(json.dumps(results)), curves, predictions, conversations


def predictions_of(
    conversations: Sequence[Conversation], stages: Sequence[str], folds: int, classes: Sequence[str]
) -> pa.Table:
    generator = np.random.default_rng(0)
    rows = []
    for (talk, conversation), stage in product(enumerate(conversations), stages):
        for utterance in conversation.utterances:
            if utterance.label is None:
                continue
            if stage == "majority":
                probabilities = np.eye(len(classes))[0]
            else:
                # Right more often than not, and more often in later conversations.
                favour = np.eye(len(classes))[classes.index(utterance.label)] * (1 + talk % 5)
                probabilities = generator.dirichlet(0.5 + favour)
            rows.append(
                {
                    "utterance_id": utterance.id,
                    "conversation_id": conversation.id,
                    "session": conversation.session,
                    "speaker": utterance.speaker,
                    "part": conversation.part,
                    "fold": f"fold{talk % folds}",
                    "stage": stage,
                    "label": utterance.label,
                    "predicted": classes[int(probabilities.argmax())],
                    "temperature": None if stage == "majority" else 1.25 + 0.25 * (talk % folds),
                    **{f"p_{name}": p for name, p in zip(classes, probabilities.tolist(), strict=True)},
                }
            )
    return pa.Table.from_pylist(rows, schema=build_schema(classes))


def epochs() -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": abs(epoch - 3) + 0.5, "validation_ua": 0.1 * epoch}
        for epoch in (1, 2, 3, 4)
    ]
