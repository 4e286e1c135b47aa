import base64
import io
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product

import numpy as np
import pyarrow.compute as pc
import pytest
import soundfile

from moodline.audio.io import MAX_SECONDS
from moodline.conversation import AudioClip
from moodline.evaluation.report import MAX_ERRORS, MAX_GROUPS, MAX_TURNS, write_report
from moodline.evaluation.scores import STAGES
from tests.made_up import WORDS, made_up
from tests.refusals import refuses

VOID = {"meta", "br", "link", "img", "hr", "input"}
FEW = ("fusion", "majority")  # stages, where nothing depends on their number: each takes time to draw
TRAINED = [stage for stage in STAGES if stage != "majority"]


class Page(HTMLParser):
    """A page's text, elements and attributes; fails where tags do not nest."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], Counter(), [], []
        self.feed(source)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def written(tmp_path, evaluation, **options):
    write_report(*evaluation, tmp_path / "report.html", **options)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(*made_up(), out)
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_one_page_that_loads_nothing(source, page):
    assert page.tags["html"] == page.tags["body"] == 1
    assert page.tags.keys().isdisjoint({"script", "link", "img", "iframe", "object", "embed"})
    loads = [value for name, value in page.attributes if name in {"src", "href", "xlink:href", "srcset", "data"}]
    assert all(value.startswith("#") for value in loads)
    assert re.findall(r"@import|url\((?!#)", source) == []
    addresses = {value for name, value in page.attributes if "://" in (value or "") and not name.startswith("xmlns")}
    assert addresses == set()


def test_ids_are_unique_and_every_reference_has_its_target(source, page):
    ids = Counter(value for name, value in page.attributes if name == "id")
    assert set(ids.values()) == {1}
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', source)) <= ids.keys()


def test_every_figure_says_what_it_shows(source, page):
    """Of scores, gains, folds, parts, calibration, coverage, sessions, speakers, two talks, every trained stage."""
    assert page.tags["svg"] == 10 + len(TRAINED)
    assert page.tags["figure"] == page.tags["svg"]
    for drawing in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        (told,) = re.findall(r'<svg[^>]* role="img" aria-labelledby="(\S+) (\S+)">', drawing)
        for tag, name in zip(("title", "desc"), told, strict=True):
            assert re.search(rf'<{tag} id="{name}">[^<]+</{tag}>', drawing)


def test_every_table_has_a_caption_and_headers(source, page):
    tables = re.findall(r"<table.*?</table>", source, re.DOTALL)
    assert len(tables) == page.tags["table"] > 10
    for table in tables:
        assert re.search(r"<caption><span>[^<]+</span></caption>", table)
        assert table.count('scope="col"') >= 2
        assert all(re.match(r"\s*<t[hd]", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL))


def test_every_section_can_be_reached(source):
    assert re.findall(r'<a href="#(\w+)">', source) == re.findall(r'<section id="(\w+)">', source)


def test_text_of_figures_is_text(source):
    drawings = re.findall(r"<svg.*?</svg>", source, re.DOTALL)
    for words in ("epoch", "validation UA", "training", "audio encoder"):
        assert any(f">{words}</text>" in drawing for drawing in drawings)


def test_names_are_escaped(source, page):
    assert "<b>sad" not in source
    assert "<tree>" not in source
    assert '<b>sad & "tired"</b>' in page.text
    assert "a <tree>" in page.text


@pytest.mark.parametrize("folds", [1, 2])
def test_shows_every_score(tmp_path, folds):
    evaluation = made_up(folds=folds)
    results = evaluation[0]
    text = written(tmp_path, evaluation).text
    for stage in results["scores"]:
        for scores in (stage["pooled"], *stage["parts"].values()):
            for measure in ("wa", "ua", "weighted_f1"):
                low, high = scores[measure]["interval"]
                assert f"{scores[measure]['value']:.3f} [{low:.3f}, {high:.3f}]" in text
        if folds > 1:
            spread = stage["over_folds"]["weighted_f1"]
            assert f"{spread['mean']:.3f} ± {spread['deviation']:.3f}" in text
        calibration = stage["calibration"]
        assert f"{calibration['expected_calibration_error']:.3f} {calibration['brier_score']:.3f}" in text
        if calibration["before"]:
            before, change = calibration["before"]["brier_score"], calibration["change"]["brier_score"]["value"]
            assert f"{before:.3f} {change:+.3f} [".replace("-", "\N{MINUS SIGN}") in text
    for point in results["coverage"]["points"]:
        assert (
            f"{point['threshold']:.3f} {100 * point['coverage']:.1f}\N{NO-BREAK SPACE}% {point['wa']['value']:.3f} "
            f"{point['ua']['value']:.3f} {point['classes']} {point['utterances']:,}"
        ) in text.replace(" %", "\N{NO-BREAK SPACE}%")
    for gain in results["differences"]:
        assert f"{STAGES[gain['stage']]} \N{MINUS SIGN} {STAGES[gain['minus']]}" in text
        assert f"{gain['ua']['value']:+.3f} [".replace("-", "\N{MINUS SIGN}") in text


def test_shows_counts_and_shares_of_each_confusion(source):
    results, *_ = made_up()
    cells = re.findall(r"<td[^>]*background[^>]*>([\d,]+)<small>(\d+) %</small></td>", source)
    expected = [
        (str(count), f"{100 * count / sum(row):.0f}")
        for stage in results["scores"]
        if stage["stage"] != "majority"
        for row in stage["confusion"]
        for count in row
    ]
    assert cells == expected


def test_says_under_what_the_scores_hold(page):
    for fact in ("cv2", "fold0", "beef1", "1,234", "three, version 7", "labelled", "0123abcd", "tiny, 5", "9.9"):
        assert fact in page.text


def test_summary_names_the_last_stage_and_the_baseline(page):
    results, *_ = made_up()
    pooled = {stage["stage"]: stage["pooled"] for stage in results["scores"]}
    summary = page.text[: page.text.index("Scores by stage")]
    assert "(fusion)" in summary
    for stage, measure in product(("fusion", "majority"), ("wa", "ua")):
        assert f"{measure.upper()} {pooled[stage][measure]['value']:.3f}" in summary


@pytest.mark.parametrize(
    "stages", [("audio_utterance", "audio_context", "majority"), ("text_utterance",), ("majority",)]
)
def test_a_system_of_fewer_stages_has_a_report(tmp_path, stages):
    cells = [cell.strip() for cell in written(tmp_path, made_up(stages)).words]
    assert [name for name in STAGES if STAGES[name] in cells] == [name for name in STAGES if name in stages]


def test_a_model_scored_elsewhere_has_neither_folds_nor_curves(tmp_path):
    results, _, *seen = made_up(folds=1)
    page = written(tmp_path, (results | {"folds": []}, {}, *seen))
    assert "Learning curves" not in page.text
    assert "Scores over folds" not in page.text
    assert page.tags["svg"] == 9


def test_notes_stand_before_all_scores(tmp_path):
    results, *rest = made_up(FEW)
    text = written(tmp_path, (results | {"notes": ["not speaker-disjoint: 7 are in two sets"]}, *rest)).text
    assert "Not speaker-disjoint: 7 are in two sets." in text[: text.index("Scores by stage")]


def test_one_conversation_without_times_words_or_sessions(tmp_path):
    evaluation = made_up(folds=1, talks=1, speakers=("A",), words="", timed=False, sessions=False)
    page = written(tmp_path, evaluation)
    assert "The only conversation: talk0" in page.text
    assert "Spread over" not in page.text
    assert "gives no interval" in page.text
    assert "no words" in page.text


def test_without_an_error_there_are_none_to_show(tmp_path):
    results, curves, predictions, conversations = made_up(("majority",), turns=1)
    assert pc.all(pc.equal(predictions["label"], predictions["predicted"])).as_py()
    page = written(tmp_path, (results, curves, predictions, conversations))
    assert "confident errors" not in page.text


def test_the_errors_shown_are_the_most_confident_with_their_words(source, page):
    _, _, predictions, _ = made_up()
    rows = [row for row in predictions.to_pylist() if row["stage"] == "fusion"]
    wrong = [row for row in rows if row["predicted"] != row["label"]]
    assert f"is wrong {len(wrong)} times" in page.text
    surest = sorted((row[f"p_{row['predicted']}"] for row in wrong), reverse=True)[:MAX_ERRORS]
    shown = re.findall(r"<p>predicted <b>[^/]*</b> \(([\d.]+)\), label", source.replace("&lt;/", "&lt;"))
    assert shown == [f"{probability:.3f}" for probability in surest]
    assert "<script" not in source
    assert WORDS in page.text


def test_turns_stand_in_their_order_with_what_was_predicted(source):
    _, _, predictions, conversations = made_up()
    rows = {
        (row["conversation_id"], row["utterance_id"]): row
        for row in predictions.to_pylist()
        if row["stage"] == "fusion"
    }
    tables = re.findall(r'<table class="turns">.*?</table>', source, re.DOTALL)
    assert len(tables) == 2
    for table in tables:
        (name,) = re.findall(r"Turns of (\w+)<", table)
        (conversation,) = (one for one in conversations if one.id == name)
        found = re.findall(r"([\N{CHECK MARK}\N{BALLOT X}]) .*? <small>([\d.]+)</small>", table)
        scored = [rows[name, turn.id] for turn in conversation.utterances if (name, turn.id) in rows]
        assert found == [
            (
                "\N{CHECK MARK}" if row["label"] == row["predicted"] else "\N{BALLOT X}",
                f"{row['p_' + row['predicted']]:.2f}",
            )
            for row in scored
        ]


@pytest.mark.slow
def test_a_large_corpus_has_a_small_report_that_says_what_it_leaves_out(tmp_path):
    speakers = [f"speaker{number}" for number in range(300)]
    evaluation = made_up(folds=10, talks=300, turns=50, speakers=speakers, stages=("text_utterance",), resamples=2)
    page = written(tmp_path, evaluation)
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    assert f"Shown are its first {MAX_TURNS} turns of 50" in page.text
    assert "over 300 speakers" in page.text
    assert f"Shown are the {MAX_GROUPS} with the most utterances" in page.text
    assert page.tags["li"] < 40


@pytest.mark.parametrize("count", [2, 8])
def test_any_number_of_classes(tmp_path, count):
    page = written(tmp_path, made_up(FEW, classes=[f"class {number} $" for number in range(count)], talks=4))
    assert f"{count} classes, weighted equally" in page.text


@pytest.fixture
def spoken(tmp_path):
    """An evaluation whose utterances have speech: 20 seconds each, of stereo at another rate."""
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (20 * 8000, 2))
    soundfile.write(tmp_path / "speech.wav", sound, 8000)
    clip = AudioClip(path=tmp_path / "speech.wav", duration=20.0, sample_rate=8000)
    *seen, conversations = made_up(("fusion",), talks=2, turns=4)
    heard = tuple(
        replace(one, utterances=tuple(replace(turn, audio=clip) for turn in one.utterances)) for one in conversations
    )
    return *seen, heard


def test_speech_of_the_errors_stands_in_the_page_where_it_is_asked_for(tmp_path, spoken):
    assert written(tmp_path, spoken).tags["audio"] == 0
    page = written(tmp_path, spoken, with_audio=True)
    sounds = [value for name, value in page.attributes if name == "src"]
    assert len(sounds) == page.tags["audio"] == page.tags["blockquote"] > 0
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0].removeprefix("data:audio/flac;base64,"))))
    assert rate == 16_000
    assert samples.shape == (MAX_SECONDS * rate,)
    assert np.isfinite(samples).all()
    assert samples.std() > 0.1


def test_speech_that_is_missing_is_named(tmp_path, spoken):
    (tmp_path / "speech.wav").unlink()
    assert written(tmp_path, spoken).tags["audio"] == 0
    with refuses("audio.missing_file", "speech.wav"):
        written(tmp_path, spoken, with_audio=True)


def test_a_corpus_without_speech_has_none_to_hear(tmp_path):
    page = written(tmp_path, made_up(FEW), with_audio=True)
    assert page.tags["audio"] == 0
    assert "no speech" in page.text


def test_a_report_to_pass_on_quotes_no_words(tmp_path):
    said = made_up(FEW, words="unmistakable words")
    assert "unmistakable" in written(tmp_path, said).text
    page = written(tmp_path, said, quote=False).text
    assert "unmistakable" not in page
    assert "Words are omitted." in page
