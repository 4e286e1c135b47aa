"""The demo corpus: ten synthetic voices in conversation, laid out as IEMOCAP is.

Its emotions show in the words (dialogue), in the voice (delivery) and in the course of the conversation, in
none of them always. It stands in for a licensed corpus where a first run or a test needs one, and says nothing
about people.
"""

from moodline.corpora.demo.tree import generate, generate_once

__all__ = ["generate", "generate_once"]
