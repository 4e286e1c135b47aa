"""The text utterance encoder (paper, section 2.2): BERT or another pretrained encoder, its last layers, a GRU."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from moodline.errors import MoodlineError, format_install_hint
from moodline.modeling.batching import Encoding, Features, build_bigru, build_length_mask
from moodline.modeling.pretrained import enable_checkpointing, freeze, is_frozen, load_checkpoint
from moodline.modeling.pretrained_files import Checkpoint, has_file, locate_checkpoint

STAGE = "text_utterance"  # of the recipe, which errors name
KEY = "text_utterance.pretrained"


class TokensInContext(NamedTuple):
    """Hold an utterance's token ids after those of the turns before it."""

    tokens: Tensor  # (T,)
    own: Tensor  # (T,), True for the utterance's own tokens and its marks


class Marks(NamedTuple):
    """Hold the special tokens around a text."""

    first: int  # number of those before it
    last: Sequence[int]  # those after it


class Tokenizer:
    """Convert words to an encoder's token ids with a ``tokenizers.Tokenizer``, saved as its tokenizer.json."""

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

    def encode_in_context(self, words: Sequence[str], previous: Sequence[Sequence[str]]) -> list[TokensInContext]:
        """Convert each utterance after the turns before it: [CLS] turn [SEP] turn [SEP] ... own words [SEP].

        The oldest tokens of the context are left out where the whole exceeds the limit.
        """
        found: list[TokensInContext] = []
        for own, turns in zip(self(words), previous, strict=True):
            encodings = self.tokenizer.encode_batch([turn for turn in turns if turn.strip()], add_special_tokens=False)
            whole = [(encoding, *encoding.overflowing) for encoding in encodings]  # also of turns beyond the limit
            pieces = [[piece for part in parts for piece in part.ids] for parts in whole]
            context = [piece for turn in pieces for piece in (*turn, *self._marks.last)]
            room = self.tokenizer.truncation["max_length"] - len(own)
            context = torch.tensor(context[max(len(context) - room, 0) :], dtype=own.dtype)
            first, rest = own.tensor_split([self._marks.first])
            is_own = torch.ones(len(own) + len(context), dtype=torch.bool)
            is_own[len(first) : len(first) + len(context)] = False
            found.append(TokensInContext(torch.cat([first, context, rest]), is_own))
        return found

    @cached_property
    def _marks(self) -> Marks:
        """Find the marks around a text."""
        encoding = self.tokenizer.encode("a")
        is_mark = encoding.special_tokens_mask
        if 0 not in is_mark:  # a vocabulary without this letter and without an unknown token
            return Marks(1, encoding.ids[1:])
        return Marks(is_mark.index(0), encoding.ids[len(is_mark) - is_mark[::-1].index(0) :])

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


def load_text_backbone(name: str, maximum_tokens: int, revision: str | None = None) -> tuple[Any, Tokenizer]:
    """Load a pretrained encoder of words and its tokenizer, or raise MoodlineError; see ``load_pretrained``."""
    checkpoint = locate_checkpoint(name, KEY, revision)
    backbone = load_checkpoint(checkpoint, "text")
    return backbone, load_tokenizer(checkpoint, min(maximum_tokens, find_maximum_length(backbone)))


def load_tokenizer(checkpoint: Checkpoint, maximum_tokens: int) -> Tokenizer:
    """Load a checkpoint's fast tokenizer, or raise MoodlineError."""
    from transformers import AutoTokenizer

    with checkpoint.loading():
        refuse_missing_sentencepiece(checkpoint)
        tokenizer: Any = AutoTokenizer.from_pretrained(**checkpoint.options)
    # transformers accepts a tokenizer without a vocabulary.
    if len(tokenizer) == len(tokenizer.all_special_tokens):
        raise checkpoint.build_error("it has no tokenizer")
    if not tokenizer.is_fast:
        raise checkpoint.build_error("its tokenizer has no fast form (tokenizer.json)")
    return Tokenizer(tokenizer.backend_tokenizer, maximum_tokens)


def refuse_missing_sentencepiece(checkpoint: Checkpoint) -> None:
    """Refuse a tokenizer in SentencePiece's format alone, as DeBERTa-v3's, without the library for it."""
    try:
        import sentencepiece  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        names = ("tokenizer.json", "spm.model", "sentencepiece.bpe.model")
        whole, *models = (has_file(checkpoint, name) for name in names)
        if not whole and any(models):
            raise MoodlineError(
                f"the tokenizer of {checkpoint.name!r} needs the extra sentencepiece: "
                f"{format_install_hint('sentencepiece')}",
                code="model.missing_sentencepiece",
            ) from None


def find_maximum_length(backbone: Any) -> int:
    """Find the longest sequence that an encoder has positions for, in tokens.

    Positions of some families, as RoBERTa's and MPNet's, begin after that of padding.
    """
    tables = [
        module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] == "position_embeddings"
    ]
    sizes = [one.num_embeddings - (0 if one.padding_idx is None else one.padding_idx + 1) for one in tables]
    return min(sizes, default=backbone.config.max_position_embeddings)


class TextEncoder(nn.Module):
    """Map words to an utterance embedding; in eval mode padding never changes a result.

    With h_l (T x W) the hidden states of a pretrained encoder's L layers for T tokens, of which the last K are read:

        x = [h_(L-K+1); ...; h_L] (T x KW)
        embedding = W p(x) + b (E,)

    p is the final states of a GRU in both directions [GRU->(x); GRU<-(x)], which the paper leaves open how to join; or
    the mean over the tokens; or the first token. The paper's encoder is BERT, its K is 4, its p the GRU.

    Args:
        backbone: of ``load_text_backbone``
        hidden, layers: of the GRU, each direction
        dropout: on the input of the GRU or of the linear map, between the GRU's layers, and on the embedding
        num_unfrozen_layers: number of the pretrained encoder's last layers that are trained; None for all of it
        use_last_layers: number of its last layers that are read
        gradient_checkpointing: recompute its layers in the backward pass to save memory

    Raises:
        MoodlineError: the pretrained encoder has too few layers, or cannot recompute them
    """

    def __init__(
        self,
        backbone: Any,
        *,
        classes: int,
        hidden: int = 100,
        layers: int = 2,
        embedding: int = 100,
        dropout: float = 0.2,
        num_unfrozen_layers: int | None = None,
        use_last_layers: int = 4,
        pooling: Literal["gru", "mean", "first"] = "gru",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if backbone.config.num_hidden_layers < use_last_layers:
            raise MoodlineError(
                f"the pretrained encoder has {backbone.config.num_hidden_layers} layers, and "
                f"text_utterance.use_last_layers reads {use_last_layers}. Choose a deeper encoder or fewer layers.",
                code="model.shallow_encoder",
            )
        self.bert = backbone  # of any family; the weights of models keep their first name
        self.use_last_layers, self.pooling = use_last_layers, pooling
        width = use_last_layers * backbone.config.hidden_size
        self.gru = build_bigru(width, hidden, layers, dropout) if pooling == "gru" else None
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(2 * hidden if pooling == "gru" else width, embedding)
        self.classify = nn.Linear(embedding, classes)
        freeze(self.bert, num_unfrozen_layers, STAGE)
        if gradient_checkpointing and not self.is_frozen:
            enable_checkpointing(self.bert, STAGE)

    @property
    def is_frozen(self) -> bool:
        """Check whether no parameter of the pretrained encoder is trained."""
        return is_frozen(self.bert)

    @property
    def is_cacheable(self) -> bool:
        """Check whether the features of ``extract`` never change."""
        return self.is_frozen

    @property
    def feature_settings(self) -> tuple[object, ...]:
        """The settings that the features depend on, beside the pretrained encoder."""
        return self.use_last_layers, self.pooling

    def forward(self, tokens: Tensor, lengths: Tensor, own: Tensor | None = None) -> Encoding:
        """Map token ids (B, T), lengths (B,) of at least 1 to embeddings (B, E), logits (B, classes).

        Args:
            own: (B, T), True for the tokens that are pooled, at least one of each row; the others are context
        """
        return self.head(*self.extract(tokens, lengths, own))

    def extract(self, tokens: Tensor, lengths: Tensor, own: Tensor | None = None) -> Features:
        """Map token ids to the hidden states that are read, pooled unless a GRU reads them; see ``forward``."""
        mask = build_length_mask(lengths, tokens.shape[1])
        if self.bert.config.pad_token_id is not None:
            tokens = tokens.masked_fill(~mask, self.bert.config.pad_token_id)  # some families count positions by it
        output = self.bert(tokens, attention_mask=mask.long(), output_hidden_states=True)
        # The last state has passed the final normalisation; that of hidden_states has so only in some versions.
        hidden_states = (*output.hidden_states[:-1], output.last_hidden_state)
        read = torch.cat(hidden_states[-self.use_last_layers :], dim=-1)  # (B, T, K x hidden size)
        if self.pooling == "first":
            return Features(read[:, :1], torch.ones_like(lengths))
        own = mask if own is None else own & mask
        if self.pooling == "mean":
            means = read.masked_fill(~own[..., None], 0.0).sum(dim=1) / own.sum(dim=1, keepdim=True)  # (B, K x size)
            return Features(means[:, None], torch.ones_like(lengths))
        if own is not mask:
            read = pad_sequence([row[kept] for row, kept in zip(read, own, strict=True)], batch_first=True)
            lengths = own.sum(dim=1)
        return Features(read, lengths)

    def head(self, features: Tensor, lengths: Tensor) -> Encoding:
        """Map the features of ``extract`` to embeddings (B, E), logits (B, classes)."""
        features = self.dropout(features)
        if self.gru is None:
            pooled = features[:, 0]  # (B, 1, K x hidden size) -> (B, K x hidden size)
        else:
            packed = pack_padded_sequence(features, lengths.cpu(), batch_first=True, enforce_sorted=False)
            _, states = self.gru(packed)  # (2 x layers, B, hidden)
            pooled = torch.cat([states[-2], states[-1]], dim=-1)  # (B, 2 x hidden)
        embeddings = self.embed(pooled)  # (B, E)
        return Encoding(embeddings, self.classify(self.dropout(embeddings)))
