import dataclasses
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from moodline.config import (
    AUDIO_CONTEXT,
    AUDIO_UTTERANCE,
    FUSION,
    STAGES,
    TEXT_CONTEXT,
    TEXT_UTTERANCE,
    AudioUtteranceConfig,
    ContextConfig,
    FusionConfig,
    Recipe,
    TextUtteranceConfig,
)
from moodline.conversation import IEMOCAP4
from moodline.modeling.checkpoint import load_part, save_stage
from moodline.modeling.context import BcLstm, BiGruAttention
from moodline.modeling.frontend import LogMel
from moodline.modeling.fusion import Concatenation, HierarchicalBcLstm, MultimodalTransformer
from moodline.modeling.leaf import Leaf
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel, build_stage, encode_present
from tests.rounding import assert_rounded_alike, count_operations

RECIPE = Recipe(
    audio_utterance=AudioUtteranceConfig(channels=(3, 4, 5, 6, 7, 8), embedding=5),
    text_utterance=TextUtteranceConfig(hidden=8, embedding=6, layers=1, num_unfrozen_layers=2),
    audio_context=ContextConfig(hidden=7),
    text_context=ContextConfig(hidden=7, self_attention=False),
    fusion=FusionConfig(hidden=12, heads=3, layers=2, feed_forward=16),
)
SIZES = {AUDIO_UTTERANCE: 5, TEXT_UTTERANCE: 6}
CLASSES = 4


def build(stage: str, recipe: Recipe = RECIPE) -> nn.Module:
    torch.manual_seed(STAGES.index(stage))
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertModel(BertConfig(**sizes, num_hidden_layers=4)) if stage == TEXT_UTTERANCE else None
    return build_stage(stage, recipe, CLASSES, bert).eval()


def model(*stages: str) -> ConversationModel:
    return ConversationModel({stage: build(stage) for stage in stages}).eval()


MODEL = model(AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)
TURNS = 10  # the most that a test reads
OPERATIONS = count_operations(MODEL, TURNS)


def embeddings(turns: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {stage: torch.randn(turns, size, generator=generator) for stage, size in SIZES.items()}


def alone(turns: int, seed: int = 0) -> dict[str, Tensor]:
    return {stage: values[None] for stage, values in embeddings(turns, seed).items()}


@torch.no_grad()
def test_each_stage_reads_what_the_paper_lets_it_read() -> None:
    inputs, lengths = alone(6), torch.tensor([6])
    audio = MODEL.parts[AUDIO_CONTEXT](inputs[AUDIO_UTTERANCE], lengths)
    text = MODEL.parts[TEXT_CONTEXT](inputs[TEXT_UTTERANCE], lengths)
    fused = MODEL.parts[FUSION](audio.embeddings, text.embeddings, lengths)
    found = MODEL(inputs, lengths)
    assert set(found) == {AUDIO_CONTEXT, TEXT_CONTEXT, FUSION}
    for stage, expected in {AUDIO_CONTEXT: audio, TEXT_CONTEXT: text, FUSION: fused}.items():
        for one, other in zip(found[stage], expected, strict=True):
            assert_rounded_alike(one, other, OPERATIONS)
        assert found[stage].logits.shape == (1, 6, CLASSES)


@pytest.mark.parametrize(("context", "encoder"), [(AUDIO_CONTEXT, AUDIO_UTTERANCE), (TEXT_CONTEXT, TEXT_UTTERANCE)])
@torch.no_grad()
def test_one_modality_needs_nothing_of_the_other(context: str, encoder: str) -> None:
    values = embeddings(4)[encoder][None]
    found = model(encoder, context)({encoder: values}, torch.tensor([4]))
    both = MODEL(alone(4), torch.tensor([4]))
    assert list(found) == [context]
    for one, other in zip(found[context], both[context], strict=True):
        assert_rounded_alike(one, other, OPERATIONS)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 10), min_size=1, max_size=4), excess=st.integers(0, 15))
@torch.no_grad()
def test_padding_never_changes_a_result(lengths: list[int], excess: int) -> None:
    batch = {stage: torch.full((len(lengths), max(lengths) + excess, size), 7.0) for stage, size in SIZES.items()}
    for row, length in enumerate(lengths):
        for stage, values in embeddings(length, row).items():
            batch[stage][row, :length] = values
    together = MODEL(batch, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        for stage, expected in MODEL(alone(length, row), torch.tensor([length])).items():
            assert_rounded_alike(together[stage].logits[row, :length], expected.logits[0], OPERATIONS)


@torch.no_grad()
def test_the_parts_fit_each_other_at_the_sizes_of_the_recipe() -> None:
    lengths = torch.tensor([18000, 9000])
    spoken = build(AUDIO_UTTERANCE)(torch.randn(2, 18000), lengths)
    written = build(TEXT_UTTERANCE)(torch.randint(0, 20, (2, 5)), torch.tensor([5, 3]))
    for encoding, stage in ((spoken, AUDIO_UTTERANCE), (written, TEXT_UTTERANCE)):
        assert encoding.embeddings.shape == (2, SIZES[stage])
        assert encoding.logits.shape == (2, CLASSES)
    inputs = {AUDIO_UTTERANCE: spoken.embeddings[None], TEXT_UTTERANCE: written.embeddings[None]}
    found = MODEL(inputs, torch.tensor([2]))
    assert found[AUDIO_CONTEXT].embeddings.shape == found[TEXT_CONTEXT].embeddings.shape == (1, 2, 14)
    assert found[FUSION].embeddings.shape == (1, 2, 24)


def inputs_of(stage: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    if stage == AUDIO_UTTERANCE:
        return torch.randn(2, 24000, generator=generator), torch.tensor([24000, 20000])
    if stage == TEXT_UTTERANCE:
        return torch.randint(0, 20, (2, 5), generator=generator), torch.tensor([5, 4])
    if stage == FUSION:
        return *torch.randn(2, 1, 5, 14, generator=generator).unbind(), torch.tensor([5])
    return torch.randn(1, 5, SIZES[ENCODER_BY_STAGE[stage]], generator=generator), torch.tensor([5])


def varied(stage: str, key: str, value: object) -> Recipe:
    """The recipe with one value changed; of one modality, so that the contexts may differ in size."""
    return replace(RECIPE, modalities="audio", **{stage: replace(getattr(RECIPE, stage), **{key: value})})


def parameters(stage: str, recipe: Recipe) -> int:
    return sum(parameter.numel() for parameter in build(stage, recipe).parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        (AUDIO_UTTERANCE, {"embedding": (50, 100, 200), "channels": ((8,) * 6, (16,) * 6)}),
        (
            TEXT_UTTERANCE,
            {"embedding": (50, 100), "hidden": (9, 12), "layers": (1, 2), "num_unfrozen_layers": (0, 1, None)},
        ),
        (AUDIO_CONTEXT, {"self_attention": (False, True), "hidden": (9, 12), "layers": (1, 2)}),
        (TEXT_CONTEXT, {"self_attention": (False, True), "hidden": (9, 12), "layers": (1, 2)}),
        (FUSION, {"layers": (1, 2, 3), "hidden": (12, 24), "feed_forward": (8, 16)}),
    ],
)
def test_every_size_of_the_recipe_reaches_its_part(stage: str, changes: dict[str, tuple]) -> None:
    for key, values in changes.items():
        sizes = [parameters(stage, varied(stage, key, value)) for value in values]
        assert all(smaller < larger for smaller, larger in pairwise(sizes)), (key, sizes)


@pytest.mark.parametrize(
    ("stage", "key", "values"),
    [
        (AUDIO_UTTERANCE, "dropout", (0.0, 0.4)),
        (AUDIO_UTTERANCE, "mask_channels", (0, 10)),
        (AUDIO_UTTERANCE, "mask_frames", (0, 20)),
        (AUDIO_UTTERANCE, "waveform_normalisation", (False, True)),
        (AUDIO_UTTERANCE, "channel_normalisation", (False, True)),
        (AUDIO_UTTERANCE, "stride_ms", (30.0, 20.0)),
        (AUDIO_UTTERANCE, "maximum_frequency", (7800.0, 4000.0)),
        (AUDIO_UTTERANCE, "minimum_frequency", (60.0, 200.0)),
        (AUDIO_UTTERANCE, "window_ms", (25.0, 40.0)),
        (TEXT_UTTERANCE, "dropout", (0.0, 0.4)),
        (AUDIO_CONTEXT, "dropout", (0.0, 0.4)),
        (TEXT_CONTEXT, "dropout", (0.0, 0.4)),
        (FUSION, "dropout", (0.0, 0.4)),
        (FUSION, "output_dropout", (0.0, 0.4)),
        (FUSION, "heads", (3, 4)),
    ],
)
@torch.no_grad()
def test_what_is_no_size_reaches_its_part_too(stage: str, key: str, values: tuple) -> None:
    inputs = inputs_of(stage)
    logits = []
    for value in values:
        part = build(stage, varied(stage, key, value)).train()
        torch.manual_seed(0)
        logits.append(part(*inputs).logits)
    assert not torch.allclose(*logits, atol=1e-6)


@pytest.mark.parametrize(
    ("stage", "key", "boxes"),
    [
        (AUDIO_UTTERANCE, "frontend", {"leaf": Leaf, "log_mel": LogMel}),
        (AUDIO_CONTEXT, "kind", {"bigru_attention": BiGruAttention, "bc_lstm": BcLstm}),
        (TEXT_CONTEXT, "kind", {"bigru_attention": BiGruAttention, "bc_lstm": BcLstm}),
        (
            FUSION,
            "kind",
            {"transformer": MultimodalTransformer, "concatenation": Concatenation, "bc_lstm": HierarchicalBcLstm},
        ),
    ],
)
def test_the_recipe_chooses_a_box_by_its_name_and_a_checkpoint_keeps_it(
    tmp_path: Path, stage: str, key: str, boxes: dict[str, type]
) -> None:
    fields = {one.name: one.type for one in dataclasses.fields(getattr(RECIPE, stage))}
    assert set(get_args(fields[key])) == set(boxes)
    for name, box in boxes.items():
        recipe = varied(stage, key, name)
        built = build(stage, recipe)
        chosen = getattr(built, "front_end", built)
        assert isinstance(chosen, box)
        save_stage(tmp_path / name, stage, built)
        loaded = load_part(tmp_path / name, stage, recipe, IEMOCAP4)
        inputs = inputs_of(stage)
        with torch.no_grad():
            for found, expected in zip(loaded(*inputs), built(*inputs), strict=True):
                assert torch.equal(found, expected)


def test_the_papers_recipe_builds_the_papers_transformer() -> None:
    fusion = build_stage(FUSION, Recipe(), CLASSES)
    shapes = {name: tuple(parameter.shape) for name, parameter in fusion.named_parameters()}
    assert shapes["text_map.weight"] == shapes["audio_map.weight"] == (120, 200)
    assert shapes["classify.weight"] == (CLASSES, 240)
    assert {name.split(".")[2] for name in shapes if name.startswith("encoder.layers")} == {"0", "1", "2"}


@pytest.mark.parametrize("stage", [AUDIO_CONTEXT, TEXT_CONTEXT])
@torch.no_grad()
def test_a_context_reads_the_turns_that_have_its_modality_as_a_conversation_of_their_own(stage: str) -> None:
    part, values = MODEL.parts[stage], torch.randn(3, 6, SIZES[ENCODER_BY_STAGE[stage]])
    mask = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]], dtype=torch.bool)
    found = encode_present(part, values, torch.tensor([6, 6, 4]), mask)
    for row in (0, 2):
        kept = values[row][mask[row]][None]
        expected = part(kept, torch.tensor([kept.shape[1]]))
        assert_rounded_alike(found.embeddings[row][mask[row]], expected.embeddings[0], OPERATIONS)
        assert_rounded_alike(found.logits[row][mask[row]], expected.logits[0], OPERATIONS)
    assert found.logits.isnan().all(dim=-1).equal(~mask)
    assert found.embeddings.isnan().all(dim=-1).equal(~mask)


@torch.no_grad()
def test_where_one_modality_is_there_the_fusion_reads_it_alone() -> None:
    both, lengths = alone(4), torch.tensor([4])
    everywhere, nowhere = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool)
    present = {AUDIO_UTTERANCE: nowhere, TEXT_UTTERANCE: everywhere}
    words = {TEXT_UTTERANCE: both[TEXT_UTTERANCE]}
    found = MODEL(words, lengths, present=present)
    assert set(found) == {TEXT_CONTEXT, FUSION}
    assert torch.equal(found[FUSION].logits, MODEL(both, lengths, present=present)[FUSION].logits)
    assert set(MODEL(words, lengths)) == {TEXT_CONTEXT}
