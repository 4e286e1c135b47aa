"""Reproduce the paper's tables from one corpus: checks, plan, tasks, ledger, tables."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from torch import nn

from moodline.config import AUDIO_UTTERANCE, STAGE_NAMES, Recipe
from moodline.conversation import LabelSet, find_label_set, refuse_misspelt
from moodline.corpora.asr_column import read_asr_column, read_asr_metadata
from moodline.corpora.corpus import Corpus, read_corpus
from moodline.corpora.protocols import TrainingSets
from moodline.corpora.storage import RECOGNISED
from moodline.device import CPU, Precision, choose_device, move
from moodline.embeddings import collect_unique_ids
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import refuse_occupied
from moodline.evaluation.results import count_conversations
from moodline.evaluation.scores import note_conversation_count
from moodline.experiments import tasks
from moodline.experiments.baselines import BASELINES
from moodline.experiments.ledger import find_experiments, refuse_other_corpus, write_ledger
from moodline.experiments.paper_tables import CLASSICAL_NAME, PaperTable, build_tables, merge_requests, select_tables
from moodline.experiments.results_tables import REPORT_FILE, fill_table, write_tables
from moodline.inference.feature_store import is_cacheable
from moodline.io import write_text
from moodline.modeling.batching import build_length_batches
from moodline.modeling.model import ENCODER_BY_STAGE, build_stage, load_backbone
from moodline.modeling.text_encoder import Tokenizer
from moodline.training import dataset
from moodline.training.crossfit import plan_crossfit
from moodline.training.lightning_module import compute_conversation_loss
from moodline.training.provenance import build_provenance, find_finished_stages
from moodline.training.run import lock_folder, refuse_foreign

REQUESTED_TABLES_FILE = "asked.json"  # written first: the tables that any command requested, and Table 1's sizes
MEASURED_BATCHES = 3  # of each stage, to estimate durations


def reproduce(
    corpus_folder: Path,
    recipe: Recipe,
    out: Path,
    console: Console,
    *,
    tables: Sequence[str],
    protocols: Sequence[str],
    sizes: Sequence[int],
    seeds: int,
    fold: str | None,
    jobs: int,
    quote: bool,
    device: str,
    precision: Precision,
    dry: bool,
) -> None:
    """Print the plan and, unless ``dry``, run it and write the ledger and the tables.

    Tables 3 and 4 are made under all protocols, the others under the first. Seeds count from the recipe's own. With
    ``quote``, the reports of the runs quote the corpus's words. The precision is that of their scores.

    Raises:
        MoodlineError: the corpus, the recipe or the folder does not fit, or a task failed
    """
    report = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    chosen = choose_device(device)
    refuse_occupied(out, "a ledger")
    refuse_foreign(out, "ledger", REQUESTED_TABLES_FILE)
    corpus = read_corpus(corpus_folder)
    refuse_other_corpus(out, corpus.table_hash)
    requested = select_tables(tables, protocols)
    own = build_tables(requested, recipe, sizes, corpus)
    recognition = read_asr_metadata(corpus_folder)
    words_hash = recognition.words_hash if recognition else None
    plan = tasks.build_plan(own, corpus, seeds, fold, words_hash)
    refuse_unfit_plan(plan, corpus, out)
    refuse_missing_asr(own, corpus_folder, corpus)
    recipes = tasks.collect_recipes(plan, out)
    tasks.refuse_other_recipes(recipes)
    for line in chain(note_weak_tests(plan), describe_plan(plan, out, jobs, chosen)):
        report(line)
    if dry:
        return
    with lock_folder(out):
        requested, sizes = merge_requests(out / REQUESTED_TABLES_FILE, requested, sizes)
        for path, one in recipes.items():
            write_text(path, yaml.safe_dump(asdict(one), sort_keys=False))
        options = {"corpus": corpus_folder.resolve(), "quote": quote, "device": device, "precision": precision}
        failure: MoodlineError | None = None
        try:
            tasks.run_tasks(plan, out, jobs, report, **options)
        except MoodlineError as error:
            failure = error  # raised after the tables of the finished tasks are written
        experiments = find_experiments(out, words_hash)
        filled = [fill_table(table, experiments) for table in build_tables(requested, recipe, sizes, corpus)]
        report(write_tables(filled, write_ledger(experiments, out), out))
    report(f"report: {out / REPORT_FILE}")
    if failure is not None:
        raise failure


def refuse_missing_asr(tables: Sequence[PaperTable], folder: Path, corpus: Corpus) -> None:
    """Refuse tables that read recognised words if the corpus has none."""
    reading = [table for table in tables if any(RECOGNISED in (row.words, row.system.words) for row in table.rows)]
    if not reading:
        return
    try:
        read_asr_column(folder, corpus)
    except MoodlineError as error:
        others = ",".join(dict.fromkeys(table.key for table in tables if table not in reading))
        remedy = f"; or leave this table out with --tables {others}" if others else ""
        raise MoodlineError(f"{reading[0].name}: {error}{remedy}", code=error.code) from error


def refuse_unfit_plan(plan: Sequence[tasks.ExperimentTask], corpus: Corpus, out: Path) -> None:
    """Refuse a plan with a task that would fail: for its corpus, its fold, or a package that is not installed."""
    recipe = plan[0].system.recipe
    labels = find_label_set(recipe.label_set)
    dataset.refuse_unlabelled(corpus)
    refuse_misspelt(labels, corpus.label_counts)
    collect_unique_ids(corpus.conversations)
    for task in {(task.system.name, task.fold.protocol, task.fold.name): task for task in plan}.values():
        build_provenance(task.system.recipe, labels, corpus, task.fold, {})
        sets = task.fold.get_training_sets(labels, task.system.recipe.context)
        plan_crossfit(task.system.recipe, task.fold, sets.train, labels)
    if any(task.system.name == CLASSICAL_NAME for task in plan):
        for baseline in BASELINES.values():
            baseline.reader(recipe, out / tasks.FEATURES_FOLDER, CPU)


def note_weak_tests(plan: Sequence[tasks.ExperimentTask]) -> Iterator[str]:
    """Yield a sentence for each weakness of a plan's test sets."""
    labels = find_label_set(plan[0].system.recipe.label_set)
    tested: dict[str, set[str]] = {}
    for fold in {(task.fold.protocol, task.fold.name): task.fold for task in plan}.values():
        classes = count_conversations(fold.scored["test"], labels)["classes"]
        tested.setdefault(fold.protocol, set()).update(one.id for one in fold.test)
        if missing := [name for name, count in classes.items() if not count]:
            yield (
                f"Note: {fold.protocol}, fold {fold.name}: the test set has no utterances of {', '.join(missing)}; "
                "its UA is over the other classes."
            )
    for protocol, conversations in tested.items():
        alone = ["the test sets have one conversation, which gives no interval"] if len(conversations) == 1 else []
        yield from (f"Note: {protocol}: {note}." for note in alone or note_conversation_count(len(conversations)))


def describe_plan(plan: Sequence[tasks.ExperimentTask], out: Path, jobs: int, device: torch.device) -> Iterator[str]:
    """Describe the tasks, the stages that each trains, and estimated durations without early stopping and scoring."""
    finished, rates, total = find_finished_stages(out / tasks.RUNS_FOLDER), dict[str, float](), 0.0
    done = {task.name for task in plan if tasks.is_done(task, out)}
    if len(done) < len(plan):
        yield "Timing a few batches of each stage to estimate durations."
    for task in plan:
        if task.name in done:
            yield f"{task.name}: done"
            continue
        own = [one for one, owner in task.owners.items() if owner == task.name and task.origins[one] not in finished]
        stages = "; ".join(f"{STAGE_NAMES[stage]}{describe_crossfit(stage, task.system.recipe)}" for stage in own)
        what = f"trains {stages or 'nothing: another task trains all of its stages'}"
        if not task.system.stages:
            what = "the classical baselines, duration not estimated"
        seconds = estimate_seconds(task, own, rates, device)
        total += seconds
        yield f"{task.name}: {what} ({format_minutes(seconds)})"
    parallel = f", {jobs} in parallel" if jobs > 1 else ""
    yield f"{len(plan)} tasks: about {format_minutes(total / jobs)}{parallel}, estimated on this machine"


def describe_crossfit(stage: str, recipe: Recipe) -> str:
    return f", {recipe.crossfit + 1} times for crossfit" if stage in recipe.crossfitted_stages else ""


def format_minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def estimate_seconds(
    task: tasks.ExperimentTask, stages: Sequence[str], rates: dict[str, float], device: torch.device
) -> float:
    """Estimate the duration of training these stages for all their epochs, and of embedding the sets once.

    Passes without training are counted as training steps, which overestimates them. A configuration is measured once.
    """
    recipe, total = task.system.recipe, 0.0
    labels = find_label_set(recipe.label_set)
    sets = task.fold.get_training_sets(labels, recipe.context)
    for stage in stages:
        training = recipe.get_training_config(stage)
        backbone, tokenizer = load_backbone(stage, recipe)
        part = build_stage(stage, recipe, len(labels.classes), backbone)
        data = build_stage_data(stage, part, recipe, sets, labels, tokenizer)
        maximum = recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else math.inf
        lengths = (data.train.lengths, data.validation.lengths)
        batches = [build_length_batches(of, batch_size=training.batch_size, maximum_total=maximum) for of in lengths]
        key = f"{stage} {asdict(getattr(recipe, stage))} {part}"
        if key not in rates:
            rates[key] = measure_rate(part, batches[0], data, device)
        # With crossfit K a part trains once on all conversations, and K times on K - 1 of K parts.
        trainings = recipe.crossfit if stage in recipe.crossfitted_stages else 1
        passes = 1 if is_cacheable(part) else trainings * (training.epochs + 1)
        total += passes * rates[key] * sum(map(count_units, batches, lengths))
    return total


def build_stage_data(
    stage: str, part: Any, recipe: Recipe, sets: TrainingSets, labels: LabelSet, tokenizer: Tokenizer | None
) -> dataset.StageData:
    """Build a stage's data; embeddings that do not exist yet are noise."""
    if stage == AUDIO_UTTERANCE:
        scored = [dataset.select_scored(one, labels) for one in (sets.train, sets.validation)]
        rate = part.sample_rate
        items = [dataset.WaveformItems(*one, recipe, train=one is scored[0], sample_rate=rate) for one in scored]
        return dataset.StageData(*items)
    if tokenizer is not None:
        items = [dataset.build_token_items(one, tokenizer, labels, recipe) for one in (sets.train, sets.validation)]
        return dataset.StageData(*items)
    sizes = [2 * getattr(recipe, source).hidden for source in ENCODER_BY_STAGE]  # of the fusion
    if stage in ENCODER_BY_STAGE:
        sizes = [getattr(recipe, stage).count_inputs(getattr(recipe, ENCODER_BY_STAGE[stage]).embedding)]
    ids = [turn.id for one in (*sets.train, *sets.validation) for turn in one.utterances]
    sequences = [{name: torch.randn(size) for name in ids} for size in sizes]
    items = [dataset.build_conversation_items(one, sequences, labels) for one in (sets.train, sets.validation)]
    return dataset.StageData(*items)


def count_units(batches: Sequence[Sequence[int]], lengths: Sequence[float]) -> float:
    """Count the units of padded length of all batches, to which the duration of a pass is proportional."""
    return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


def measure_rate(
    part: nn.Module, batches: Sequence[Sequence[int]], data: dataset.StageData, device: torch.device
) -> float:
    """Measure the seconds of a training step per unit of padded length."""
    # From the shortest to the longest.
    chosen = [batches[(2 * at + 1) * len(batches) // (2 * MEASURED_BATCHES)] for at in range(MEASURED_BATCHES)]
    optimiser, started = torch.optim.AdamW(part.to(device).parameters()), 0.0
    for number, batch in enumerate([chosen[0], *chosen]):
        if number == 1:  # the first warms up
            started = time.perf_counter()
        inputs, labels = move(dataset.collate_items([data.train[index] for index in batch]), device)
        optimiser.zero_grad()
        compute_conversation_loss(part(*inputs).logits, labels, None).backward()
        optimiser.step()
        next(part.parameters()).sum().item()  # waits for a GPU, which computes asynchronously
    return (time.perf_counter() - started) / count_units(chosen, data.train.lengths)
