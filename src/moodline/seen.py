"""What a model saw of a conversation: nothing it was trained or selected on may be scored."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Protocol

from moodline.conversation import Conversation


class Seen(Protocol):
    """What trained and selected a model.

    Attributes:
        trained_on, selected_on: fingerprints of whole conversations, see ``Conversation.fingerprint``
        selected_on_turns: fingerprints of one speaker's turns in each of ``selected_on``, where these turns alone were
            scored there (cv10)
    """

    @property
    def trained_on(self) -> Sequence[str]: ...
    @property
    def selected_on(self) -> Sequence[str]: ...
    @property
    def selected_on_turns(self) -> Sequence[str]: ...


def use_made_of(seen: Seen, conversation: Conversation, speaker: str | None) -> str | None:
    """What a model took from the turns to be scored; None where it saw no label of them.

    A conversation that trained it is refused whoever is scored in it. One that selected it by one speaker's turns
    leaves those of the other speaker to be scored, and these alone.

    Args:
        speaker: whose turns alone are scored; None where everyone's are
    """
    if conversation.fingerprint in seen.trained_on:
        return "trained on"
    if speaker is not None and speaker not in conversation.speakers:
        return None  # nothing of it is scored, though its turns may all be those that selected
    speakers = conversation.speakers if speaker is None else {speaker}
    turns = {conversation.fingerprint, *(conversation.turns_of(one).fingerprint for one in speakers)}
    if not turns.isdisjoint(seen.selected_on_turns):
        return "selected on turns of"
    by_turns = seen.selected_on_turns and speaker is not None
    return "selected on" if conversation.fingerprint in seen.selected_on and not by_turns else None


def joined(fingerprints: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """What several models saw, each once, in its order."""
    return tuple(dict.fromkeys(chain.from_iterable(fingerprints)))
