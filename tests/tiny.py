"""Small stand-ins that several tests share."""

from pathlib import Path

import torch

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Pieces of words, so that unlike texts have unlike token ids; anything else is [UNK].
WORDS = ("i", "am", "so", "happy", "sad", "not", "yes", "no", "angry", "##er", "##est", ".", "?", "!")
POSITIONS = 24  # the longest sequence that the tiny BERT takes


def tiny_bert(folder: Path) -> Path:
    """A folder as a model hub gives it: a BertModel with random weights, the same each time, and its tokenizer."""
    from transformers import BertConfig, BertModel, BertTokenizer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = BertModel(
            BertConfig(
                vocab_size=len(MARKS + WORDS),
                hidden_size=16,
                num_hidden_layers=4,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=POSITIONS,
                initializer_range=0.2,  # large enough for each layer to matter
            ),
            add_pooling_layer=False,
        )
    bert.save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate(MARKS + WORDS)}
    BertTokenizer(vocab=vocabulary, do_lower_case=True).save_pretrained(folder)
    return folder
