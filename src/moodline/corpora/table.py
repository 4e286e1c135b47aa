"""Anyone's data in a table: CSV, JSON lines or Parquet, a row an utterance, with words, audio files or both.

Columns, of which words or audio are needed; ``columns.NAMES`` lists the other names that each may have, in capitals or
not. Columns that are none of these are passed over.

    words           what was said
    audio           a recording, by its path from the table's folder
    offset          where in the recording the utterance begins, in seconds; without it, see ``stretch_of``
    duration        how long it is, in seconds; without it, see ``stretch_of``
    label           the emotion, as you call it
    conversation    rows of one name are one conversation; without the column each row is one of its own
    utterance       its id; without it the conversation's name and a number
    speaker         who speaks; without it the conversation has one speaker of its own
    start, end      when, in seconds from the conversation's beginning or as HH:MM:SS.mmm
    session, part   groups of conversations, for protocols and scores; one for a whole conversation
    split           train, validation or test, as published; one for a whole conversation

Turns are in the order of their starts where all of a conversation have one, and in that of the table otherwise.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from moodline.audio import waveform
from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.corpora.columns import NAMES, meant_for, recognised, split_of, text_of_cell, time_of
from moodline.corpora.corpus import Corpus, corpus_of
from moodline.corpora.formats import FORMATS, Record
from moodline.corpora.validation import NO_TURN_LEFT, Faults, Turn, cleaned, in_order, sound, summary
from moodline.errors import MoodlineError

ROUNDED = 0.05  # seconds that a recording's end, as a table tells it, may lie after the true one

SHOWN_COLUMNS = 12
EMPTY = "a row without words and audio"
ASSUMED = {
    "conversation": "no column conversation: each row is taken as a conversation of its own",
    "speaker": "no column speaker: each conversation is taken as a speaker's own",
    "label": "no column label: no utterance has one, to train on or to score by",
}


class Row(NamedTuple):
    """One utterance's cells by column, and where it stands."""

    where: str
    number: int
    cells: Mapping[str, str]

    @property
    def conversation(self) -> str:
        return self.cells["conversation"]


def read(source: Path) -> Corpus:
    """Read a table and the recordings that it names.

    Raises:
        MoodlineError: ``source`` is no table, has neither words nor audio, or has faults
    """
    if not source.is_file():
        raise MoodlineError(f"a table is a file: there is none at {source}; check the path")
    read_records = FORMATS.get(source.suffix.lower())
    if read_records is None:
        raise MoodlineError(f"a table is a file that ends with {', '.join(FORMATS)}: {source} does not; save it as CSV")
    faults = Faults(source.parent.resolve())
    names, records = read_records(source, faults)
    if faults.found and not names:
        raise MoodlineError(summary(faults.found, source))
    if not any(name.strip() for name in names):
        raise MoodlineError(f"a table has rows, of which the first names the columns: {source} is empty; fill it in")
    columns = recognised(names)
    if not columns.keys() & {"words", "audio"}:
        raise MoodlineError(
            f"a table has a column of words ({', '.join(NAMES['words'])}) or of audio ({', '.join(NAMES['audio'])}): "
            f"{source} has {' '.join(', '.join(names).split())}; rename one"
        )
    passed_over = [name for name in names if name not in columns.values()]
    if passed_over:
        more = ", ..." if len(passed_over) > SHOWN_COLUMNS else ""
        faults.note(f"columns that are not read, {len(passed_over)}: {', '.join(passed_over[:SHOWN_COLUMNS])}{more}")
    for column, assumed in ASSUMED.items():
        if column not in columns:
            meant = meant_for(column, passed_over)
            faults.note(f"{assumed}; is {meant[0]!r} meant? then name it {meant[1]}" if meant else assumed)
    rows = rows_of(source, columns, records, faults)
    if not rows and not faults.found:
        raise MoodlineError(f"{source} has no row with words or audio: fill it in")
    return replace(corpus_of("table", conversations_of(rows, faults), faults), table=source.name)


def rows_of(source: Path, columns: Mapping[str, str], records: Sequence[Record], faults: Faults) -> list[Row]:
    """The rows that can be read, each with the name of its conversation."""
    rows: list[Row] = []
    for number, (where, record) in enumerate(records, start=1):
        try:
            cells = {column: text_of_cell(record.get(name)) for column, name in columns.items()}
        except MoodlineError as error:
            faults.add(where, f"{error} ({where}); correct that row")
            continue
        if "conversation" not in columns:
            cells["conversation"] = f"{source.stem}_{number}"
        if not cleaned(cells.get("words", "")) and not cells.get("audio"):
            faults.leave_out(EMPTY, where)
        elif not cells["conversation"]:
            faults.add(where, f"each row names its conversation: {where} does not; fill it in, or remove the column")
        else:
            rows.append(Row(where, number, cells))
    return rows


def conversations_of(rows: Sequence[Row], faults: Faults) -> Iterator[Conversation]:
    """Conversations in the order in which the table first names them."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.conversation, []).append(row)
    ids = with_made_up(ids_of(rows), by_name)
    recordings = Recordings(faults.source, Counter(row.cells.get("audio", "") for row in rows))
    for name, members in by_name.items():
        whole = facts_of(members[0])
        utterances: list[Utterance] = []
        for row in members:
            identity = ids[row.number]
            try:
                if facts_of(row) != whole:
                    raise MoodlineError(
                        f"session, part and split are a whole conversation's: {name!r} has {facts_of(row)}, and before "
                        f"that {whole}"
                    )
                split_of(row.cells)
                utterance = utterance_of(identity, row, recordings)
            except MoodlineError as error:
                faults.add(identity, f"{error} ({row.where}); correct that row")
            else:
                utterances += filter(None, [sound(Turn(utterance, row.where), faults)])
        if not utterances:
            faults.leave_out(NO_TURN_LEFT, name)
        else:
            yield Conversation(
                id=name,
                utterances=tuple(in_order(utterances)),
                session=members[0].cells.get("session") or None,
                part=members[0].cells.get("part") or None,
                split=split_of(members[0].cells),
            )


def with_made_up(given: Mapping[int, str], by_name: Mapping[str, Sequence[Row]]) -> dict[int, str]:
    """Row -> id, those without one named by their conversation and place in it, as no other row is."""
    ids, taken = dict(given), set(given.values())
    for name, members in by_name.items():
        for position, row in enumerate(members):
            if row.number not in ids:
                identity = name if len(members) == 1 else f"{name}_{position}"
                while identity in taken:
                    identity += "_"
                taken.add(identity)
                ids[row.number] = identity
    return ids


def ids_of(rows: Sequence[Row]) -> dict[int, str]:
    """Row -> id, of the rows that have one; with the conversation's name before it if two conversations share one."""
    given = {row.number: row.cells["utterance"] for row in rows if row.cells.get("utterance")}
    homes: dict[str, set[str]] = {}
    for row in rows:
        if row.number in given:
            homes.setdefault(given[row.number], set()).add(row.conversation)
    if all(len(names) == 1 for names in homes.values()):
        return given
    return {row.number: f"{row.conversation}_{given[row.number]}" for row in rows if row.number in given}


def facts_of(row: Row) -> tuple[str, str, str]:
    return row.cells.get("session", ""), row.cells.get("part", ""), row.cells.get("split", "")


def utterance_of(identity: str, row: Row, recordings: "Recordings") -> Utterance:
    start, end = time_of(row.cells, "start"), time_of(row.cells, "end")
    return Utterance(
        id=identity,
        speaker=row.cells.get("speaker") or row.conversation,
        words=row.cells.get("words", ""),
        audio=recordings.stretch_of(row, start, end) if row.cells.get("audio") else None,
        start=start,
        end=end,
        label=row.cells.get("label") or None,
    )


@dataclass
class Recordings:
    """The files that a table names, from its folder: each is looked into once."""

    folder: Path
    rows: Mapping[str, int]  # file as the table names it -> how many rows do
    found: dict[str, AudioClip] = field(default_factory=dict)

    def stretch_of(self, row: Row, start: float | None, end: float | None) -> AudioClip:
        """An utterance's part of its file.

        By ``offset`` and ``duration``; an offset without a duration goes by how long the turn is, from ``start`` to
        ``end``. Without an offset it is the whole file; but where several rows share a file, a conversation's
        recording, it is from ``start`` to ``end``. What is not told goes to the recording's end.
        """
        name = row.cells["audio"]
        whole = self.whole(name)
        offset, duration = time_of(row.cells, "offset"), time_of(row.cells, "duration")
        if start is not None and end is not None:
            if offset is None and self.rows[name] > 1:
                offset, duration = start, end - start
            elif offset is not None and duration is None:
                duration = end - start
        offset = offset or 0.0
        if duration is None:
            duration = whole.duration - offset
        if duration <= 0 or offset + duration > whole.duration + ROUNDED:
            raise MoodlineError(
                f"an utterance lies within its recording: {whole.path} lasts {whole.duration:.3f} s, and the utterance "
                f"is from {offset:.3f} to {offset + duration:.3f} s"
            )
        duration = min(duration, whole.duration - offset)
        return AudioClip(path=whole.path, offset=offset, duration=duration, sample_rate=whole.sample_rate)

    def whole(self, name: str) -> AudioClip:
        if name not in self.found:
            if not name.isprintable():
                raise MoodlineError(f"an audio file's name is printable, and {name!a} is not")
            path = self.folder / name.replace("\\", "/")
            try:
                self.found[name] = waveform.inspect(path)
            except OSError as error:  # a name that is too long
                raise MoodlineError(f"an audio file must exist: there is no file {path} ({error.strerror})") from error
        return self.found[name]
