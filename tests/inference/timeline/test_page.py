"""The page's text: what stands in it, and that nothing that was said becomes a part of it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings

from moodline.timeline import html
from moodline.timeline.html import format_signed
from moodline.timeline.timeline import Influence, Reasons
from tests.inference.timeline.talks import SAID, talk, timelines
from tests.refusals import refuses


class Parsed(HTMLParser):
    """Every element's name and attributes, and all text, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "my talk.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(10 * 8000) / 5), 8000)
    return path


@pytest.mark.parametrize(
    ("fall", "told"),
    [(0.254, "+0.25"), (-0.254, "\N{MINUS SIGN}0.25"), (-1.0, "\N{MINUS SIGN}1.00")],
)
def test_a_fall_has_its_sign(fall: float, told: str) -> None:
    assert format_signed(fall) == told


def test_the_models_facts_and_what_must_be_known_stand_before_the_turns():
    page = talk().to_html()
    for told in (
        "Trained on synthetic voices.",
        "The recording is quiet.",
        "From 9.6 to 10.0 s",
        "Apache-2.0",
        "talk.srt",
    ):
        assert page.lower().index(told.lower()) < page.index('id="turns"')


def test_each_turn_is_a_row_with_links_to_its_context():
    page = talk().to_html()
    assert len(re.findall(r'<tr id="turn-\d+">', page)) == len(SAID)
    row = page[page.index('id="turn-4"') : page.index('id="turn-5"')]
    assert re.findall(r'href="#turn-(\d)"', row) == ["3", "2", "1"]
    assert "speech +0.25" in row
    assert "words \N{MINUS SIGN}0.12" in row


def test_a_turn_has_the_number_that_reasons_name_it_by():
    page = talk().to_html()
    for number in range(1, len(SAID) + 1):
        row = page[page.index(f'id="turn-{number}"') :]
        assert re.search(r'<span class="number">(\d+)</span>', row)[1] == str(number)


def test_a_turn_without_words_says_so_where_others_have_them():
    page = talk().to_html()
    row = page[page.index('id="turn-5"') : page.index('id="turn-6"')]
    assert "no words" in row
    assert page.count("no words") == 1
    assert "no words" not in replace(talk(), words_from=None).to_html()


@settings(max_examples=50, deadline=None)
@given(timelines())
def test_what_was_said_never_adds_an_element(one):
    found = Parsed(one.to_html())
    tags = [tag for tag, _ in found.elements]
    assert tags.count("script") == 2
    assert tags.count("tr") == (1 + len(one.turns) if one.turns else 0)
    assert not {"img", "iframe", "object", "link", "base", "form"} & set(tags)
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]


def test_hostile_words_are_words():
    words = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    hostile = ((words, 0.0, 1.0, words, words),)
    page = talk(said=hostile, classes=(words, "b"), reasons=False).to_html()
    found = Parsed(page)
    assert [tag for tag, _ in found.elements].count("script") == 2
    assert "img" not in [tag for tag, _ in found.elements]
    assert words in "".join(found.text)
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data[1])["speakers"] == [words]


def test_the_sound_stands_in_the_page(recording):
    (audio,) = [attributes for tag, attributes in Parsed(talk().to_html(recording)).elements if tag == "audio"]
    assert audio["src"].startswith("data:audio/mpeg;base64,")


def test_the_sound_of_samples_is_that_of_their_file(recording):
    samples, rate = soundfile.read(recording, dtype="float32")
    assert talk().to_html(samples, sample_rate=rate) == talk().to_html(recording)
    with refuses("audio.no_rate", "sample_rate"):
        talk().to_html(samples)
    with refuses("audio.unfit_rate", f"sample_rate={rate}"):
        talk().to_html(recording, sample_rate=rate)


def test_samples_that_are_too_long_are_seen_and_not_heard(recording, monkeypatch):
    samples, rate = soundfile.read(recording, dtype="float32")
    monkeypatch.setattr(html, "MAX_EMBEDDED_SECONDS", 9.0)
    page = talk().to_html(samples, sample_rate=rate)
    assert "<audio" not in page
    assert 'id="play"' not in page
    assert "does not contain its sound." in page
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["sound"]["envelope"]


def test_a_recording_that_is_none_is_told(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    with refuses("audio.unreadable", "a.wav"):
        talk().to_html(tmp_path / "a.wav")
    with refuses("audio.missing_file", "b.wav"):
        talk().to_html(tmp_path / "b.wav")


def test_a_long_recording_is_named_and_lies_beside_the_page(recording, monkeypatch):
    monkeypatch.setattr(html, "MAX_EMBEDDED_SECONDS", 9.0)
    found = Parsed(talk().to_html(recording))
    (audio,) = [attributes for tag, attributes in found.elements if tag == "audio"]
    assert audio["src"] == "my%20talk.wav"
    assert "my talk.wav" in "".join(found.text)


@pytest.mark.parametrize("timed", [True, False])
def test_without_sound_or_times_there_is_no_player(recording, timed):
    page = talk(timed=timed).to_html(None if timed else recording)
    assert "<audio" not in page
    assert 'id="play"' not in page


def test_a_page_to_pass_on_quotes_no_words() -> None:
    page = talk().without_words().to_html()
    assert not [words for *_, words, _ in SAID if words and words in page]
    assert "no words" not in page  # of a turn of which nobody knows any, where others have some


def test_reasons_that_are_zero_in_two_digits_are_not_shown():
    tiny, near = Influence(turn=1, weight=0.004), Influence(turn=2, weight=0.006)
    for reasons, shown in (
        (Reasons(context=(near, tiny), speech=0.004, words=-0.004), ["turn 3", ".01"]),
        (Reasons(context=(tiny,), speech=-0.004, words=0.006), ["words +0.01"]),
        (Reasons(context=(tiny,), speech=0.0, words=None), []),
    ):
        one = talk(reasons=False)
        page = replace(one, turns=(replace(one.turns[0], reasons=reasons), *one.turns[1:])).to_html()
        found = re.search(r'<small class="why">(.*?)</small>', page, re.DOTALL)
        text = " ".join(re.sub("<[^>]*>", "", found[1] if found else "").split())
        assert text == " ".join([*(["context"] if "turn 3" in shown else []), *shown])
