"""Embeddings from outside, in the place of an utterance encoder: which a model reads, and whether they are those."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from moodline.config import EMBEDDINGS_OPTIONS, Recipe
from moodline.conversation import Conversation
from moodline.embeddings import Embeddings, EmbeddingsFile, read_embeddings, require, unique_ids
from moodline.errors import MoodlineError


def refuse_other_encoders(recipe: Recipe, encoders: Iterable[str]) -> None:
    """Refuse to give a model other embeddings than those it reads.

    Raises:
        MoodlineError: names the option that is missing, or is one too many
    """
    encoders = set(encoders)
    refuse_missing(recipe.given, encoders)
    strangers = sorted(encoders - set(recipe.given))
    if strangers:
        option = EMBEDDINGS_OPTIONS.get(strangers[0], f"embeddings[{strangers[0]!r}]")
        raise MoodlineError(f"this model reads no embeddings in the place of {strangers[0]}: leave out {option}")


def refuse_missing(given: Mapping[str, int], encoders: Iterable[str]) -> None:
    """Refuse to go without the embeddings, of these lengths by encoder, that are read.

    Raises:
        MoodlineError: names the option that is missing
    """
    encoders = set(encoders)
    for encoder, size in given.items():
        if encoder not in encoders:
            raise MoodlineError(
                f"in the place of its {encoder} this model reads embeddings of length {size}: "
                f"give them with {EMBEDDINGS_OPTIONS[encoder]} FILE, or in Python with with_embeddings"
            )


def refuse_unfit(recipe: Recipe, given: Mapping[str, EmbeddingsFile], conversations: Sequence[Conversation]) -> None:
    """Refuse files that lack an utterance of these conversations, or are of another size than the recipe's.

    Raises:
        MoodlineError: so; or a file is missing, or one too many; or an id is in two conversations
    """
    refuse_other_encoders(recipe, given)
    if given:
        ids = unique_ids(conversations)
        for encoder, file in given.items():
            require(file.vectors, ids, recipe.given[encoder], str(file.path))


def read_given(
    recipe: Recipe, files: Mapping[str, Path], conversations: Sequence[Conversation]
) -> dict[str, EmbeddingsFile]:
    """What files, by encoder, give a model of these conversations; errors as of ``refuse_unfit``, and of the files."""
    refuse_other_encoders(recipe, files)
    given = {encoder: read_embeddings(path) for encoder, path in files.items()}
    refuse_unfit(recipe, given, conversations)
    return given


def vectors_of(given: Mapping[str, EmbeddingsFile]) -> dict[str, Embeddings]:
    return {encoder: file.vectors for encoder, file in given.items()}
