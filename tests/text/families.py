"""Small pretrained encoders of words, one of each family, with random weights, as a hub has them."""

from pathlib import Path
from typing import Any

import torch

from tests.tiny import WORDS

POSITIONS = 24  # the longest sequence that each of them takes
SIZES = {"vocab_size": 5 + len(WORDS), "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 32, "initializer_range": 0.2}  # large enough for each layer to matter
BERT_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_MARKS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
AFTER_PADDING = {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def describe(family: str) -> tuple[Any, tuple[str, ...]]:
    """Return a family's configuration and the special tokens at the first ids of its vocabulary."""
    import transformers

    match family:
        case "roberta":
            return transformers.RobertaConfig(**SIZES, **AFTER_PADDING), ROBERTA_MARKS
        case "xlm-roberta":
            return transformers.XLMRobertaConfig(**SIZES, **AFTER_PADDING), ROBERTA_MARKS
        case "mpnet":
            return transformers.MPNetConfig(**SIZES, **AFTER_PADDING), ROBERTA_MARKS
        case "electra":
            return transformers.ElectraConfig(**SIZES, max_position_embeddings=POSITIONS, embedding_size=8), BERT_MARKS
        case "deberta-v2":  # as DeBERTa-v3
            relative = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
            relative |= {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
            config = transformers.DebertaV2Config(
                **SIZES, **relative, max_position_embeddings=POSITIONS, type_vocab_size=0, layer_norm_eps=1e-7
            )
            return config, BERT_MARKS
        case "modernbert":
            marks = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
            config = transformers.ModernBertConfig(
                **SIZES, **marks, max_position_embeddings=POSITIONS, local_attention=8, global_attn_every_n_layers=3
            )
            return config, BERT_MARKS
        case "distilbert":
            sizes = {"vocab_size": 5 + len(WORDS), "dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 32}
            config = transformers.DistilBertConfig(**sizes, max_position_embeddings=POSITIONS, initializer_range=0.2)
            return config, BERT_MARKS
    return transformers.BertConfig(**SIZES, max_position_embeddings=POSITIONS), BERT_MARKS


FAMILIES = ("bert", "roberta", "xlm-roberta", "mpnet", "electra", "deberta-v2", "modernbert", "distilbert", "sentence")
WITH_POSITION_TABLES = tuple(name for name in FAMILIES if name not in ("deberta-v2", "modernbert"))


def write_encoder(folder: Path, family: str) -> Path:
    """Write a folder with a model and its tokenizer."""
    import transformers

    config, marks = describe(family)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    write_tokenizer(folder, marks)
    if family == "sentence":
        (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers"}]')
    return folder


def write_tokenizer(folder: Path, marks: tuple[str, ...]) -> None:
    """Write a tokenizer of the pieces of ``tests/tiny.py`` that puts an encoder's marks around a text."""
    import tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(marks + WORDS)}
    order = ("pad", "unk", "cls", "sep", "mask") if marks == BERT_MARKS else ("cls", "pad", "sep", "unk", "mask")
    named = {f"{name}_token": mark for name, mark in zip(order, marks, strict=True)}
    first, last = named["cls_token"], named["sep_token"]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token=named["unk_token"]))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, ids[first]), (last, ids[last])]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
