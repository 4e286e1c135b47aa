"""Conversations of who says what with which label."""

from moodline.conversation import Conversation, Utterance


def spoken(name: str, turns: list[tuple[str, str | None]], **facts: str) -> Conversation:
    utterances = tuple(
        Utterance(id=f"{name}_{number}", speaker=speaker, words=f"Turn {number} of {name}.", label=label)
        for number, (speaker, label) in enumerate(turns)
    )
    return Conversation(id=name, utterances=utterances, **facts)
