"""ELAN's annotation files, .eaf (EAF 3.0 and before, https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf)."""

import re
from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np

from moodline.conversation import Segment
from moodline.errors import MoodlineError, quote
from moodline.transcripts.textgrid import Tier, find_speakers, identify_other
from moodline.transcripts.transcript import ParsedTranscript

NAME = "ELAN"
PATTERN = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<ANNOTATION_DOCUMENT[\s>]", re.DOTALL)
DECLARATION = re.compile(r"\s*<\?xml[^>]*>")


def parse_elan(text: str, origin: str) -> ParsedTranscript:
    """Parse the annotations of each tier that no other tier contains and that holds utterances.

    A tier's speaker is its participant, or else its name, as in ``textgrid``.
    """
    document = parse_document(text, origin)
    times = read_times(document, origin)
    tiers: list[Tier] = []
    participants: list[str] = []
    notes: list[str] = []
    for tier in document.iter("TIER"):
        name = tier.get("TIER_ID", "")
        segments = read_annotations(tier, times, f"{origin}, tier {quote(name)}")
        parent = tier.get("PARENT_REF")
        what = f"a part of tier {quote(parent)}" if parent else identify_other(name, segments)
        if what:
            notes.append(f"tier {quote(name)} skipped: it holds {what}")
        elif segments:
            tiers.append((name, segments))
            participants.append(tier.get("PARTICIPANT", "").strip())
    if not tiers:
        raise MoodlineError(
            f"{origin} has no tier of utterances ({'; '.join(notes) or 'no annotation'}). Add one.",
            code="transcript.no_utterance_tier",
        )
    speakers = find_speakers([name for name, _ in tiers])
    cues = [
        (f"{origin}, tier {quote(name)}, annotation {number}", replace(segment, speaker=participant or speaker))
        for (name, segments), participant, speaker in zip(tiers, participants, speakers, strict=True)
        for number, segment in enumerate(segments, start=1)
        if (segment.words or "").strip()
    ]
    return ParsedTranscript(NAME, cues, notes)


def parse_document(text: str, origin: str) -> ElementTree.Element:
    try:
        # A declaration names the encoding of the file, which is decoded already.
        return ElementTree.fromstring(DECLARATION.sub("", text, count=1))
    except ElementTree.ParseError as error:
        raise MoodlineError(
            f"{origin} is not well-formed XML: {error}. Save it again in ELAN.", code="transcript.invalid_xml"
        ) from error


def read_times(document: ElementTree.Element, origin: str) -> dict[str, float]:
    """Read the time slots in seconds; one without a time lies evenly between those with one before and after it."""
    slots = list(document.iter("TIME_SLOT"))
    values: list[float | None] = []
    for slot in slots:
        value = slot.get("TIME_VALUE")
        if value is not None and not re.fullmatch(r"\d{1,15}", value, re.ASCII):
            raise MoodlineError(
                f"{origin}, time slot {quote(slot.get('TIME_SLOT_ID'))} has the time {quote(value)}, expected "
                "milliseconds. Save it again in ELAN.",
                code="transcript.invalid_time",
            )
        values.append(None if value is None else int(value) / 1000)
    known = {place: value for place, value in enumerate(values) if value is not None}
    times = np.interp(range(len(values)), [*known], [*known.values()]) if known else ()
    return {slot.get("TIME_SLOT_ID", ""): float(time) for slot, time in zip(slots, times, strict=False)}


def read_annotations(tier: ElementTree.Element, times: Mapping[str, float], place: str) -> list[Segment]:
    """Read a tier's annotations with times of their own, in their order."""
    segments: list[Segment] = []
    for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
        slots = [annotation.get(f"TIME_SLOT_REF{number}", "") for number in (1, 2)]
        if unknown := [slot for slot in slots if slot not in times]:
            raise MoodlineError(
                f"{place} refers to the time slot {quote(unknown[0])}, which the file lacks. Save it again in ELAN.",
                code="transcript.invalid_time",
            )
        words = annotation.findtext("ANNOTATION_VALUE") or ""
        segments.append(Segment(start=times[slots[0]], end=times[slots[1]], words=words))
    return sorted(segments, key=lambda one: one.start)
