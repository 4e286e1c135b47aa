"""A system with all of the released code's choices: what trains it, and the mark on its every number."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from moodline.config import (
    AUDIO_UTTERANCE,
    ENCODERS,
    STAGES,
    Recipe,
)
from moodline.conversation import IEMOCAP4
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import build_folds
from moodline.errors import MoodlineError
from moodline.evaluation.evaluate import evaluate_model
from moodline.experiments.paper_tables import change_config, create_released, measure_longest_seconds
from moodline.inference.pipeline import load
from moodline.modeling.as_released import ReleasedAttention, find_classified
from moodline.modeling.model import ENCODER_BY_STAGE
from moodline.recipe import parse_recipe, read_recipe
from moodline.training.dataset import WaveformItems
from moodline.training.fold_training import FoldTrainer
from moodline.training.provenance import note_selection
from moodline.training.run import Run
from moodline.training.trainer import Hardware
from tests.system import AS_RELEASED, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

NOTE = "not speaker-disjoint in selection"


def training(corpus: Corpus, recipe: Recipe, folder: Path, protocol: str = "session5") -> FoldTrainer:
    fold = build_folds(corpus, protocol)[0]
    run = Run(
        folder=folder,
        recipe_name="",
        recipe=recipe,
        protocol=protocol,
        corpus_folder=folder,
        corpus_hash="",
        label_set=IEMOCAP4,
    )
    return FoldTrainer(run, fold, fold.get_training_sets(IEMOCAP4, recipe.context), {}, Hardware(), Console())


def as_released(base: Recipe) -> Recipe:
    return create_released(base, 2.0).recipe


@pytest.mark.parametrize("protocol", ["session5", "cv10"])
def test_the_encoders_alone_train_on_what_the_fold_selects_by(corpus: Corpus, tmp_path: Path, protocol: str) -> None:
    clean, released = (training(corpus, recipe, tmp_path, protocol) for recipe in (Recipe(), as_released(Recipe())))
    selecting = find_classified(clean.validation, IEMOCAP4)
    for stage in STAGES:
        assert clean.select_sets(stage, clean.train) == (clean.train, clean.validation)
        train, validation = (find_classified(part, IEMOCAP4) for part in released.select_sets(stage, released.train))
        assert bool(train & selecting) == (stage in ENCODERS)
        assert len(validation) == len(selecting)
        if stage not in ENCODERS:
            assert released.select_sets(stage, released.train) == (clean.train, clean.validation)


def test_the_encoders_read_the_turns_drawn(corpus: Corpus, tmp_path: Path) -> None:
    released = training(corpus, as_released(Recipe()), tmp_path)
    sets = released.select_sets(AUDIO_UTTERANCE, released.train)
    data = released.build_data(AUDIO_UTTERANCE, released.build_part(AUDIO_UTTERANCE), sets)
    for items, part in zip((data.train, data.validation), sets, strict=True):
        assert isinstance(items, WaveformItems)
        assert {turn.id for turn in items.utterances} == find_classified(part, IEMOCAP4)
        assert len(items[0].sequences[0]) == 2 * items.config.sample_rate


def test_the_draw_is_another_for_another_seed(corpus: Corpus, tmp_path: Path) -> None:
    trainers = [training(corpus, as_released(Recipe(seed=seed)), tmp_path) for seed in (0, 0, 1)]
    drawn = [trainer.select_sets(AUDIO_UTTERANCE, trainer.train)[1] for trainer in trainers]
    assert drawn[0] == drawn[1] != drawn[2]


def test_three_choices_are_all_that_differs_from_the_base() -> None:
    base = change_config(Recipe(), {"fusion.layers": 2, "audio_utterance.stride_ms": 10})
    system = create_released(base, 12.5)
    assert system.name == "as-released"
    own = system.recipe
    assert own.audio_utterance.padded_seconds == 12.5
    assert {own.selection, own.audio_utterance.padding, own.audio_context.attention, own.text_context.attention} == {
        "released"
    }
    back = {"selection": "fold", "audio_utterance.padding": "masked", "audio_utterance.padded_seconds": 34.0}
    back |= {f"{stage}.attention": "paper" for stage in ("audio_context", "text_context")}
    assert change_config(own, back) == base


def test_the_recipe_is_the_papers_with_these_choices() -> None:
    paper, released = (parse_recipe(read_recipe(name)[0], name) for name in ("iemocap", "as-released"))
    assert released == create_released(paper, 34).recipe


def test_the_longest_utterance_is_what_all_are_padded_to(corpus: Corpus) -> None:
    assert measure_longest_seconds(corpus) == max(turn.audio.duration for turn in corpus.utterances if turn.audio)
    first = corpus.conversations[0]
    silent = replace(first, utterances=tuple(replace(turn, audio=None) for turn in first.utterances))
    with pytest.raises(MoodlineError) as error:
        measure_longest_seconds(replace(corpus, conversations=(silent, *corpus.conversations[1:])))
    assert error.value.code == "experiment.missing_audio"
    assert first.utterances[0].id in str(error.value)


def test_a_system_that_trains_no_encoder_has_no_mark() -> None:
    released = as_released(Recipe())
    assert note_selection(released) == (NOTE,)
    assert note_selection(Recipe()) == ()
    assert note_selection(released.with_precomputed({AUDIO_UTTERANCE: 12})) == (NOTE,)
    assert note_selection(released.with_precomputed(dict.fromkeys(ENCODERS, 12))) == ()


@pytest.mark.slow
def test_the_mark_is_on_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("corpus", 0), ("other", 7)):
        write_tree(tmp_path / f"{name}-tree", seed=seed)
        moodline("prepare", "iemocap", tmp_path / f"{name}-tree", "-o", tmp_path / name)
    recipe = write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    options = ("--recipe", recipe, "--protocol", "session5", *AS_RELEASED)
    capsys.readouterr()
    moodline("train", tmp_path / "corpus", *options, "-o", tmp_path / "run")
    assert capsys.readouterr().out.count(NOTE) == 1
    moodline("evaluate", tmp_path / "run")
    assert f"Note: {NOTE}." in capsys.readouterr().out
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["notes"].count(NOTE) == 1
    model = tmp_path / "run/fold-5/model"
    for file in (tmp_path / "run/report.html", model / "README.md"):
        assert NOTE.capitalize() in file.read_text()
    outcome = evaluate_model(model, tmp_path / "other", tmp_path / "elsewhere", lambda *_: None)
    assert f"in training: {NOTE}" in outcome.results["notes"]
    parts = load(model).model.network.parts
    assert all(isinstance(one, ReleasedAttention) for stage in ENCODER_BY_STAGE for one in parts[stage].attention)
