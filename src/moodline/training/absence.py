"""What the fusion reads in training where it is to know conversations without speech or without words."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.utils.data import Dataset

from moodline.config import FUSION, Modalities, Recipe
from moodline.conversation import Conversation, LabelSet
from moodline.inference.presence import masked, presence
from moodline.training.data import Item, StageData, conversation_item, has_class
from moodline.training.randomness import generator_of

Embeddings = Mapping[str, Tensor]


class FusionItems(Dataset[Item]):
    """Conversations as sequences of both modalities' contextual embeddings, with masks of where each is present.

    Args:
        conversations: with a class somewhere
        read: in which modalities each is given; None draws them anew in each epoch, as ``drawn_modalities`` says
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        read: Sequence[Modalities | None],
        embeddings: Sequence[Embeddings],
        recipe: Recipe,
        label_set: LabelSet,
    ) -> None:
        self.conversations, self.read, self.recipe = conversations, read, recipe
        self.items = [conversation_item(one, embeddings, label_set) for one in conversations]
        self.present = [presence(one.utterances, recipe) for one in conversations]
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        present = self.present[index]
        modalities = self.read[index] or drawn_modalities(self.recipe, self.epoch, self.conversations[index])
        masks = tuple(masked(present, modalities).values())
        nothing = not any(mask.any() for mask in masks)
        return self.items[index]._replace(masks=tuple(present.values()) if nothing else masks)

    @property
    def lengths(self) -> list[int]:
        return [len(item.labels) for item in self.items]


def drawn_modalities(recipe: Recipe, epoch: int, conversation: Conversation) -> Modalities:
    """What a conversation is given with in an epoch: a function of the seed, the epoch and its id."""
    share = recipe.fusion.modality_dropout
    drawn = generator_of(recipe.seed, FUSION, "modalities", epoch, conversation.id).random()
    if drawn >= share:
        return "both"
    return "text" if drawn < share / 2 else "audio"


def fusion_data(
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    embeddings: Sequence[Embeddings],
    recipe: Recipe,
    label_set: LabelSet,
) -> StageData:
    """Conversations that may lack a modality: drawn in training; an epoch is selected by all modes that are served.

    The validation set is read once in each mode, so that each has the same say in the loss. What leaves nothing to
    read teaches nothing and selects nothing, and is left out.
    """
    modes = recipe.fusion.serves
    drawn: Sequence[Modalities | None] = [None] if len(modes) > 1 else modes
    sets = []
    for conversations, ways in ((train, drawn), (validation, modes)):
        pairs: list[tuple[Conversation, Modalities | None]] = [
            (one, way)
            for way in ways
            for one in conversations
            if has_class(one, label_set)
            and any(mask.any() for mask in masked(presence(one.utterances, recipe), way or "both").values())
        ]
        items = FusionItems([one for one, _ in pairs], [way for _, way in pairs], embeddings, recipe, label_set)
        sets += [items, items.lengths]
    return StageData(*sets)
