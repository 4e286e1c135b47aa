"""The report as a browser lays it out: on a phone, on a desk and on paper."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from moodline.evaluation.report import write_report
from tests.made_up import made_up
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

pytestmark = pytest.mark.browser
PHONE, DESK = 375, 1280
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch_and_its_conversations"

# A page that holds the report in a frame of some width, looks at it, and writes down what it found.
LOOKING = """<!DOCTYPE html><body style="margin:0">
<iframe id="frame" style="width:{width}px;height:800px;border:0" srcdoc="{report}"></iframe>
<script>
addEventListener("load", () => {{
  const {{contentDocument: page, contentWindow: view}} = document.getElementById("frame");
  for (const one of page.querySelectorAll("details")) one.open = true;
  const wide = [...page.querySelectorAll("body *")].filter(one =>
    !one.closest(".scroll, svg") && one.getBoundingClientRect().right > view.innerWidth + 0.5);
  document.body.textContent = JSON.stringify({{
    seen: view.innerWidth,
    needed: page.documentElement.scrollWidth,
    wide: wide.map(one => one.outerHTML.slice(0, 100)),
    hidden: [...page.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().height < 50).length,
    sections: page.querySelectorAll("section").length,
    sounds: [...page.querySelectorAll("audio")].map(one => one.error && one.error.message),
    loaded: view.performance.getEntriesByType("resource").map(one => one.name.slice(0, 100)),
  }});
}});
</script>"""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Runs Chromium without a window and gives what it printed: the page, and messages."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("Chromium is not installed: the report is not looked at in a browser")

    def run(page, *options):
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"]
        profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
        return subprocess.run(
            [*command, profile, *options, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
        )

    return run


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    """Of the tiny system, with its speech; of a large evaluation with long names; of next to nothing."""
    place = tmp_path_factory.mktemp("browser")
    write_tree(place / "tree")
    recipe = write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    options = ("--recipe", recipe, "--protocol", "session5", "--modalities", "text")
    moodline("train", place / "corpus", *options, "-o", place / "run")
    moodline("evaluate", place / "run", "--with-audio")
    classes = ["anger", "happiness", "excitement", "sadness", "neutral state", "frustration", "surprise", LONG]
    large = made_up(folds=10, talks=20, turns=50, classes=classes, words=LONG, speakers=[LONG, "B"], resamples=2)
    write_report(*large, place / "large.html")
    least = made_up(("text_utterance",), folds=1, talks=1, speakers=("A",), words="", timed=False, sessions=False)
    write_report(*least, place / "least.html")
    return {"tiny": place / "run" / "report.html", "large": place / "large.html", "least": place / "least.html"}


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", ["tiny", "large", "least"])
def test_fits_the_screen_loads_nothing_and_has_nothing_to_complain_of(chromium, reports, tmp_path, name, width):
    looking = LOOKING.format(width=width, report=html.escape(reports[name].read_text(encoding="utf-8")))
    (tmp_path / "looking.html").write_text(looking, encoding="utf-8")
    done = chromium(tmp_path / "looking.html", "--dump-dom", "--virtual-time-budget=5000", "--window-size=1400,900")
    (body,) = re.findall(r"<body[^>]*>(.*)</body>", done.stdout, re.DOTALL)
    found = json.loads(html.unescape(body))
    assert found["seen"] == width
    assert found["needed"] <= width
    assert found["wide"] == []
    assert found["hidden"] == 0
    assert found["sections"] >= 9
    assert [source for source in found["loaded"] if not source.startswith("data:")] == []
    assert set(found["sounds"]) <= {None}
    assert (name == "tiny") == bool(found["sounds"])
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def test_a_page_that_misbehaves_would_be_found_out(chromium, reports, tmp_path):
    """What the test above takes for granted: breaches are seen."""
    report = reports["least"].read_text(encoding="utf-8")
    worse = '<p style="width:600px">wide</p><img src="https://nowhere.invalid/a.png"></main>'
    looking = LOOKING.format(width=PHONE, report=html.escape(report.replace("</main>", worse)))
    (tmp_path / "looking.html").write_text(looking, encoding="utf-8")
    done = chromium(tmp_path / "looking.html", "--dump-dom", "--virtual-time-budget=5000")
    (body,) = re.findall(r"<body[^>]*>(.*)</body>", done.stdout, re.DOTALL)
    found = json.loads(html.unescape(body))
    assert found["needed"] > PHONE
    assert found["wide"]
    assert any("Content Security Policy" in line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("name", ["tiny", "large"])
def test_prints(chromium, reports, tmp_path, name):
    chromium(reports[name], "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'report.pdf'}")
    pages = re.findall(rb"/Type /Page\b.*?/MediaBox \[([\d. ]+)\]", (tmp_path / "report.pdf").read_bytes(), re.DOTALL)
    assert 4 <= len(pages) <= 40
    for page in pages:
        _, _, width, height = map(float, page.split())
        assert (width, height) == pytest.approx((595, 842), abs=2)  # A4 in points
