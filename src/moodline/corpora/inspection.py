"""Print the content of a corpus for a person."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from moodline.console import create_console
from moodline.conversation import IEMOCAP4, Conversation
from moodline.corpora.corpus import FAULTS_FILE, Corpus
from moodline.corpora.iemocap import EXPECTED_BY_SESSION
from moodline.corpora.validation import describe_faults
from moodline.errors import format_count, format_first

MAX_SHOWN_LABELS = 12  # more do not fit a line


def print_inspection(corpus: Corpus, console: Console | None = None) -> None:
    """Print conversations, speakers, hours, labels by session or split, lengths, notes, content left out, faults."""
    console = console or create_console()
    print_line = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    utterances = list(corpus.utterances)
    hours = sum(utterance.audio.duration for utterance in utterances if utterance.audio) / 3600
    parts = Counter(conversation.part for conversation in corpus.conversations if conversation.part)
    by_part = f" ({', '.join(f'{count} {part}' for part, count in parts.items())})" if parts else ""
    counts = (
        format_count(len(corpus.conversations), "conversation") + by_part,
        format_count(len(utterances), "utterance"),
        format_count(len({utterance.speaker for utterance in utterances}), "speaker"),
        f"{hours:.2f} hours",
    )
    print_line(f"{corpus.reader}, {corpus.source}, table {corpus.table_hash}")
    print_line(", ".join(counts))
    console.print(build_label_table(corpus))
    console.print(build_length_table(corpus))
    for note in corpus.notes:
        print_line(note)
    if not corpus.left_out and not corpus.faults:
        print_line("left out: nothing")
    for reason, ids in corpus.left_out.items():
        print_line(f"left out, {reason}: {len(ids)} ({format_first(ids)})")
    for line in describe_faults(corpus.faults, FAULTS_FILE):
        print_line(line)
    if corpus.reader == "iemocap":
        console.print(build_expectation_table(corpus))


def build_label_table(corpus: Corpus) -> Table:
    """Build the table of labels by session, or by published split where there are no sessions."""

    def count_labels(conversations: Sequence[Conversation]) -> Counter[str]:
        return Counter(u.label or "none" for conversation in conversations for u in conversation.utterances)

    total = count_labels(corpus.conversations)
    labels = [label for label, _ in total.most_common(MAX_SHOWN_LABELS)]
    others = ["others"] if len(total) > len(labels) else []
    heading, groups = "", {}
    for name in ("split", "session"):
        if any(getattr(one, name) for one in corpus.conversations):
            heading, groups = name, group_by(corpus, name)
    table = create_table("labels as found", heading, *labels, *others, "all")
    for name, conversations in [*groups.items(), ("all", corpus.conversations)]:
        counts = count_labels(conversations)
        shown = [counts[label] for label in labels]
        rest = [counts.total() - sum(shown)] if others else []
        table.add_row(name, *map(str, (*shown, *rest, counts.total())))
    return table


def build_length_table(corpus: Corpus) -> Table:
    lengths = {
        "utterance, seconds": [utterance.audio.duration for utterance in corpus.utterances if utterance.audio],
        "utterance, words": [len(utterance.words.split()) for utterance in corpus.utterances],
        "conversation, utterances": [len(conversation.utterances) for conversation in corpus.conversations],
    }
    table = create_table("lengths", "", "least", "median", "95 %", "most")
    for name, values in lengths.items():
        if values:
            table.add_row(name, *(f"{quantile:.4g}" for quantile in np.quantile(values, (0, 0.5, 0.95, 1))))
    return table


def build_expectation_table(corpus: Corpus) -> Table:
    """Build the table of the four classes' utterances beside those of IEMOCAP's full release."""
    found = Counter(
        {
            session: sum(IEMOCAP4.index(u.label) is not None for one in conversations for u in one.utterances)
            for session, conversations in group_by(corpus, "session").items()
        }
    )
    expected = Counter(EXPECTED_BY_SESSION)
    table = create_table(f"{IEMOCAP4.name} against IEMOCAP", "session", "found", "expected", "difference")
    for session in sorted(expected.keys() | found.keys()):
        table.add_row(session, f"{found[session]}", f"{expected[session]}", f"{found[session] - expected[session]:+d}")
    table.add_row("all", f"{found.total()}", f"{expected.total()}", f"{found.total() - expected.total():+d}")
    return table


def group_by(corpus: Corpus, name: str) -> dict[str, list[Conversation]]:
    """Group conversations by their session or split."""
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for conversation in corpus.conversations:
        groups[getattr(conversation, name) or "-"].append(conversation)
    return dict(sorted(groups.items()))


def create_table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), highlight=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
