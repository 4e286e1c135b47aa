"""The page in a browser: heard, moved through by mouse, keys and thumb, and printed, with the network cut off."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.timeline import html
from tests.inference.timeline.talks import CLASSES, SAID, talk

pytestmark = pytest.mark.browser
DESK, PHONE = (1200, 900), (390, 844)
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch" * 3
WIDE = "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 40
HOSTILE = "</script><script>window.broken=1</script><img src=x onerror='window.broken=1'>"


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("Chromium is not installed: the page is not looked at in a browser")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """With sound, with sound beside it, of words alone, of long and hostile words, of many turns, of none."""
    place = tmp_path_factory.mktemp("pages")
    recording = place / "talk.wav"
    soundfile.write(recording, 0.3 * np.sin(np.arange(10 * 8000) / 5), 8000)
    many = tuple((who, 3.0 * n, 3.0 * n + 2.5, LONG[:40], CLASSES[n % 5]) for n in range(400) for who in [f"P{n % 12}"])
    hostile = ((HOSTILE, 0.0, 1.0, HOSTILE, HOSTILE), (LONG, 1.0, 2.0, LONG, LONG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "MAX_EMBEDDED_SECONDS", 9.0)
        beside = talk().to_html(recording)
    made = {
        "sound": talk().to_html(recording),
        "beside": beside,
        "words": talk(timed=False).to_html(),
        "hostile": talk(said=hostile, classes=(HOSTILE, LONG)).to_html(),
        "many": talk(said=many).to_html(),
        "none": talk(said=()).to_html(),
        "wide": talk(said=tuple((WIDE, *rest) for _, *rest in SAID[:2]), classes=(*CLASSES, WIDE)).to_html(),
    }
    for name, text in made.items():
        (place / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: place / f"{name}.html" for name in made}


@contextmanager
def opened(chromium, path: Path, size=DESK, **options) -> Iterator:
    """The page; afterwards it must have asked for nothing and have complained of nothing."""
    complaints, asked = [], []
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, offline=True, **options)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []
    assert {url for url in asked if not url.startswith("data:")} <= {path.as_uri(), (path.parent / "talk.wav").as_uri()}


def here(page) -> str:
    return page.locator("#turns tr.here").get_attribute("id")


def now(page) -> float:
    return page.evaluate("document.getElementById('sound').currentTime")


def until(page, condition: str) -> None:
    """Wait; Playwright's own waiting makes a function of a text, which the page's policy forbids."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never true: {condition}")


def until_silent(page) -> None:
    until(page, "document.getElementById('sound').paused")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["sound", "beside", "words", "hostile", "many", "none", "wide"])
def test_fits_the_screen_and_runs_nothing_that_was_said(chromium, pages, name, size):
    with opened(chromium, pages[name], size) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.evaluate("window.broken") is None
        if name == "none":
            assert page.get_by_text("No turns were found.").is_visible()
            return
        for svg in ("#overview", "#lanes"):
            assert page.locator(svg).bounding_box()["height"] > 40
        wide = page.evaluate(
            "[...document.querySelectorAll('body *')].filter(one => !one.closest('svg')"
            " && one.getBoundingClientRect().right > innerWidth + .5).map(one => one.outerHTML.slice(0, 80))"
        )
        assert wide == []
        if name == "hostile":
            assert page.locator("#turn .said").inner_text().strip() == HOSTILE


@pytest.mark.parametrize("name", ["sound", "beside"])
def test_a_click_on_a_turn_plays_it_to_its_end(chromium, pages, name):
    with opened(chromium, pages[name]) as page:
        until(page, "document.getElementById('sound').readyState >= 1")
        assert page.evaluate("document.getElementById('sound').duration") == pytest.approx(10, abs=0.2)
        page.locator("#lanes [data-turn='1']").first.click()
        assert here(page) == "turn-2"
        until(page, "document.getElementById('sound').currentTime > 2.3")
        until_silent(page)
        assert 3.1 <= now(page) < 3.9
        page.locator("#turn-1 .said").click()
        until(page, "document.getElementById('sound').currentTime < 1")
        until_silent(page)
        assert 2.0 <= now(page) < 2.8


def test_a_click_between_turns_seeks(chromium, pages):
    with opened(chromium, pages["sound"]) as page:
        until(page, "document.getElementById('sound').readyState >= 1")
        box, gutter = page.locator("#lanes").bounding_box(), 116
        page.mouse.click(box["x"] + gutter + (box["width"] - gutter) * 0.52, box["y"] + 40)
        assert now(page) == pytest.approx(5.2, abs=0.05)
        assert here(page) == "turn-1"


def test_playing_on_moves_through_the_turns(chromium, pages):
    with opened(chromium, pages["sound"]) as page:
        page.evaluate("(sound => { sound.currentTime = 1.8; sound.play(); })(document.getElementById('sound'))")
        until(page, "document.querySelector('#turns tr.here').id === 'turn-3'")
        page.evaluate("document.getElementById('sound').pause()")


def test_the_keys_move_and_play(chromium, pages):
    with opened(chromium, pages["sound"]) as page:
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert here(page) == "turn-3"
        page.keyboard.press("ArrowLeft")
        assert here(page) == "turn-2"
        page.keyboard.press("Enter")
        until(page, "document.getElementById('sound').currentTime > 2.3")
        until_silent(page)
        assert 3.1 <= now(page) < 3.9
        page.locator("#turn-2").focus()
        page.keyboard.press("ArrowDown")
        assert here(page) == "turn-3"
        assert page.evaluate("document.activeElement.id") == "turn-3"
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        assert here(page) == f"turn-{len(SAID)}"


def test_the_mouse_over_a_turn_shows_its_words_probabilities_and_reasons(chromium, pages):
    with opened(chromium, pages["sound"]) as page:
        page.locator("#lanes [data-turn='3']").first.hover()
        panel = page.locator("#turn")
        assert 'Not "soon", not "later".' in panel.inner_text()
        assert panel.locator("dd.value").all_inner_texts() == ["0.82", *["0.04", "0.04", "0.04", "0.04"]]
        assert panel.locator(".why a").all_inner_texts() == ["turn 3", "turn 2", "turn 1"]
        assert page.locator("#lanes .marks rect").count() == 4
        page.locator("#turn-4 .why a").first.click()
        assert here(page) == "turn-3"


def test_a_tap_on_a_phone_shows_and_plays(chromium, pages):
    with opened(chromium, pages["sound"], PHONE, has_touch=True, is_mobile=True) as page:
        page.locator("#lanes [data-turn='5']").first.tap()
        assert here(page) == "turn-6"
        assert "these are for you" in page.locator("#turn").inner_text()
        until(page, "document.getElementById('sound').currentTime > 8")


def test_tab_comes_to_one_turn_and_enter_plays_it(chromium, pages):
    with opened(chromium, pages["sound"]) as page:
        page.locator("#next").click()
        page.locator("#closer").focus()
        stops = []
        for _ in range(12):
            page.keyboard.press("Tab")
            stops.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert [stop for stop in stops if stop.startswith("turn-")] == ["turn-2"]
        assert stops[:2] == ["A", "turn-2"]  # the shown turn's context, then its row, and none of the rows' links
        page.locator("#turn-2").focus()
        page.keyboard.press("Enter")
        until(page, "document.getElementById('sound').currentTime > 2.3")
        until_silent(page)
        assert 3.1 <= now(page) < 3.9


def test_everything_that_is_used_has_a_name(chromium, pages):
    with opened(chromium, pages["sound"]) as page:
        for name in ("Previous turn", "Play", "Next turn", "Closer", "Wider", "Whole"):
            assert page.get_by_role("button", name=name, exact=True).count() == 1
        assert page.get_by_role("table", name="Turns").count() == 1
        assert page.locator("audio").get_attribute("aria-label")
        assert page.locator("#whole").is_disabled()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["wide", "hostile"])
def test_names_stay_out_of_the_lanes(chromium, pages, name, size):
    with opened(chromium, pages[name], size) as page:
        labels = page.locator("#lanes > text[x='0']")
        ends = labels.evaluate_all("all => all.map(one => one.getBBox().x + one.getBBox().width)")
        assert len(ends) > 3
        assert max(ends) < (116 if size == DESK else 76)


def test_many_turns_are_seen_through_a_window(chromium, pages):
    with opened(chromium, pages["many"]) as page:
        assert page.locator("#lanes [data-turn]").count() < 200
        page.locator("#overview").click(position={"x": 1100, "y": 20})
        assert int(re.sub(r"\D", "", here(page))) > 350
        page.locator("#whole").click()
        assert page.locator("#lanes [data-turn]").count() == 800


def test_words_alone_have_a_place_for_each_turn(chromium, pages):
    with opened(chromium, pages["words"]) as page:
        widths = page.locator("#lanes [data-turn]").evaluate_all(
            "all => all.slice(0, 6).map(one => one.getBBox().width)"
        )
        assert max(widths) == pytest.approx(min(widths), abs=0.1)
        assert page.locator("audio, #play").count() == 0


def test_paper_has_the_table_and_no_controls(chromium, pages, tmp_path):
    with opened(chromium, pages["sound"]) as page:
        page.emulate_media(media="print")
        for hidden in ("audio", "#overview", "#lanes", "#play", "#whole", "#turn", ".keys"):
            assert not page.locator(hidden).is_visible()
        for turn in range(1, len(SAID) + 1):
            assert page.locator(f"#turn-{turn}").is_visible()
        assert page.get_by_text("Trained on synthetic voices.").is_visible()
        page.pdf(path=tmp_path / "page.pdf", format="A4")
        assert len(re.findall(rb"/Type /Page\b", (tmp_path / "page.pdf").read_bytes())) == 1
