"""Speakers' names before the words of subtitles: ``[Ann]: words``, ``Ann: words``, ``[Ann] words``.

The first form, WhisperX's, is a speaker wherever it stands. The other two may as well be words or a sound, as in
``Listen: ...`` and ``[laughs] ...``. They are speakers where at least half of the cues with words begin with a name
that begins another cue too, in any of the forms; a name that begins no other cue stays with the words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from moodline.speech.transcripts.transcript import Cue

LONGEST = 40  # letters of a name
SURE = re.compile(r"\s*\[(?P<name>.+?)\]:(?:\s+|$)(?P<words>.*)", re.DOTALL)
LIKELY = re.compile(
    rf"\s*(?:\[(?P<name>[^\[\]\n]{{1,{LONGEST}}})\]|(?P<bare>[^\W\d_][^\n:.,;!?\[\]]{{0,{LONGEST - 1}}}):)"
    r"\s+(?P<words>.+)",
    re.DOTALL,
)


def told_by_prefixes(cues: Sequence[Cue]) -> list[Cue]:
    """The cues with the speakers that their words begin with, by the rule above, and these words without them."""
    sure = [SURE.fullmatch(cue.words or "") for cue in cues]
    likely = [None if found else LIKELY.fullmatch(cue.words or "") for found, cue in zip(sure, cues, strict=True)]
    begun = Counter(name_of(found) for found in (*sure, *likely) if found)
    recurring = {name for name, count in begun.items() if count > 1}
    believed = [found if found and name_of(found) in recurring else None for found in likely]
    spoken = sum(bool(cue.words and cue.words.strip()) for cue in cues)
    if 2 * sum(found is not None for found in (*sure, *believed)) < spoken:
        believed = [None] * len(cues)
    return [
        replace(cue, speaker=name_of(found), words=found["words"]) if (found := certain or guessed) else cue
        for cue, certain, guessed in zip(cues, sure, believed, strict=True)
    ]


def name_of(found: re.Match[str]) -> str:
    return " ".join((found["name"] or found["bare"]).split())
