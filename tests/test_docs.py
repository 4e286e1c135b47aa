"""The pages under docs/: their commands parse, their links and names exist, and their examples run."""

import contextlib
import importlib.util
import inspect
import io
import math
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch

import moodline as moodline_package
from moodline.cli.main import build_parser
from moodline.cli.options import accept_dashes
from moodline.evaluation.leaf_figures import FEATURES_TITLE, PICTURES
from moodline.modeling import Leaf
from tests.inference.tiny_models import write_model
from tests.rounding import rounding
from tests.stand_in_hub import serve_hub, use_hub
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
API = ROOT / "docs" / "api.md"
EXTENDING = ROOT / "docs" / "extending.md"
LEAF_PAGE = ROOT / "docs" / "leaf.md"
EXAMPLE = ROOT / "examples" / "leaf_any_task.py"
PICTURE = re.compile(r"^!\[.+\]\((.+)\)$", re.MULTILINE)
COMMAND = re.compile(r"^    (?:\.venv/bin/)?moodline (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?:#|\+\+\+) (?P<path>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON_FILE = re.compile(r"`((?:[\w.-]+/)*\w+\.py)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ANCHOR = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def commands(page: Path) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in COMMAND.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    "command",
    # Those of extending.md need what the page adds, and are run below.
    [
        pytest.param(one, id=f"{page.name}: {' '.join(one)}")
        for page in PAGES
        if page != EXTENDING
        for one in commands(page)
    ],
)
def test_every_command_of_the_pages_is_one(command: list[str]) -> None:
    options = build_parser().parse_args(accept_dashes(command))
    assert options.command == command[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_is_a_heading(page: Path) -> None:
    missing = []
    for target, anchor in ANCHOR.findall(page.read_text(encoding="utf-8")):
        headings = HEADING.findall((page.parent / target if target else page).read_text(encoding="utf-8"))
        if anchor not in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]:
            missing.append(f"{target}#{anchor}")
    assert not missing


@pytest.mark.parametrize("page", [page for page in PAGES if page != EXTENDING], ids=lambda page: page.name)
def test_every_python_file_of_the_pages_exists(page: Path) -> None:
    """A path in backticks is that of a file, from the repository's root or from src/moodline, or its name."""
    files = {f"/{path.relative_to(ROOT)}" for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    named = {name for name in PYTHON_FILE.findall(page.read_text(encoding="utf-8")) if "NAME" not in name}
    assert [name for name in sorted(named) if not any(file.endswith(f"/{name}") for file in files)] == []


def test_the_pages_that_the_source_names_exist() -> None:
    named = {
        (str(path.relative_to(ROOT)), page)
        for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("recipes/*.yaml"), *ROOT.glob("benchmarks/*.py")]
        for page in re.findall(r"(?<!espeak-ng's )docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert [one for one in sorted(named) if not (ROOT / one[1]).is_file()] == []


def test_the_architecture_page_names_every_module_and_its_picture_is_of_today() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "docs" / "architecture_picture.py"))
    layers = script["read_layers"]()
    missing = [name for layer in layers for name in layer if not re.search(rf"`{name}(/|\.py)`", page)]
    assert missing == []
    assert script["PICTURE"].read_text(encoding="utf-8") == script["draw"](layers), (
        "run .venv/bin/python docs/architecture_picture.py"
    )


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_the_readme_leads_to_every_page(page: Path) -> None:
    assert f"](docs/{page.name})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_of_the_recipes_keys_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "configuration.py"))
    told = "run .venv/bin/python docs/configuration.py"
    assert script["page"]() == (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8"), told


def apply(change: str, path: Path) -> None:
    """A diff without line numbers: each stretch of it, context and what goes, stands in the file once."""
    text = path.read_text(encoding="utf-8")
    for stretch in change.split("@@\n"):
        lines = stretch.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        assert text.count(before) == 1, f"docs/extending.md changes what {path.name} does not have once:\n{before}"
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")


def write_diaries(root: Path) -> None:
    """Five sessions of two conversations, of four turns each."""
    generator = np.random.default_rng(0)
    for session in range(1, 6):
        for day in ("monday", "tuesday"):
            page = root / str(session) / f"{day}.txt"
            page.parent.mkdir(parents=True, exist_ok=True)
            turns = [(f"{name}{session}", label) for name in ("anna", "ben") for label in ("glad", "low")]
            page.write_text("".join(f"{who}\t{label}\tIt is {label}, {day} {session}.\n" for who, label in turns))
            for number in range(1, len(turns) + 1):
                samples = generator.normal(0, 0.1, 8_000 + 1_000 * number)
                soundfile.write(page.with_name(f"{day}-{number}.wav"), samples, 16_000)


# In one process: its imports take longer than what it runs.
APPLIED = """
import pytest
assert pytest.main({tests}) == 0
from moodline.cli.main import main
for command in {commands}:
    main(command)
"""


@pytest.mark.slow
def test_the_reader_the_box_and_the_output_of_extending_work(tmp_path: Path) -> None:
    """The page's files and changes go into a copy of the source; its tests pass there, and its commands run."""
    shutil.copytree(
        ROOT / "src" / "moodline", tmp_path / "src" / "moodline", ignore=shutil.ignore_patterns("__pycache__")
    )
    page = EXTENDING.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(page))
    assert len(blocks) == page.count("\n```") // 2, "every block of the page names its file in its first line"
    for block in blocks:
        path = tmp_path / block["path"]
        if block["language"] == "diff":
            apply(block["text"], path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
    write_diaries(tmp_path / "diaries")
    write_recipe(tmp_path / "own.yaml", tiny_bert(tmp_path / "bert"))
    tests = [block["path"] for block in blocks if block["path"].startswith("tests/")]
    program = APPLIED.format(tests=["-q", "--import-mode=importlib", *tests], commands=commands(EXTENDING))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    description = (tmp_path / "runs" / "diary" / "fold-5" / "model" / "config.json").read_text()
    assert '"kind": "gated_sum"' in description
    assert (tmp_path / "runs" / "diary" / "report.html").is_file()


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a recording of two turns, its transcript, a table of words, two corpora and a recipe."""
    write_model(tmp_path, "both")
    (tmp_path / "tiny.yaml").rename(tmp_path / "recipe.yaml")
    for seed, name in enumerate(("corpus", "other")):
        moodline("prepare", "iemocap", write_tree(tmp_path / f"{name}-tree", seed=seed), "-o", tmp_path / name)
    samples = np.random.default_rng(0).normal(0, 0.1, 4 * 16_000)
    soundfile.write(tmp_path / "talk.wav", samples, 16_000)
    cues = ("[ANN]: I am fine.", "[BEN]: You never call.")
    srt = (f"{n}\n00:00:0{2 * n - 2},000 --> 00:00:0{2 * n},000\n{cue}\n" for n, cue in enumerate(cues, start=1))
    (tmp_path / "talk.srt").write_text("\n".join(srt), encoding="utf-8")
    (tmp_path / "chat.csv").write_text("speaker,words\nANN,I am fine.\nBEN,You never call.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_examples_of_the_api_page_run(
    example_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names: dict[str, object] = {}
    with serve_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "cache")
        for block in python_blocks(API):
            if "to_pandas" not in block or importlib.util.find_spec("pandas"):
                exec(block, names)
    written = {str(path.relative_to(example_folder)) for path in example_folder.rglob("*")}
    timelines = {f"talk.{ending}" for ending in ("json", "csv", "emotions.srt", "TextGrid", "html")}
    assert written >= timelines | {"talk.vtt", "run/fold-5/model/config.json", "run/report.html", "scores/report.html"}
    assert "You never call." in capsys.readouterr().out


def test_the_api_page_shows_every_function() -> None:
    page = API.read_text(encoding="utf-8").partition("## Reference")[0]
    functions = {name for name in moodline_package.__all__ if inspect.isfunction(getattr(moodline_package, name))}
    assert [name for name in sorted(functions) if f"moodline.{name}" not in page] == []
    methods = (
        "predict",
        "stream",
        "save",
        "save_pretrained",
        "push_to_hub",
        "to_pandas",
        "to_table",
        "to_json",
        "from_json",
    )
    assert [name for name in methods if f".{name}(" not in page] == []


def test_the_example_of_the_readme_runs(example_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = python_blocks(ROOT / "README.md")
    exec(example.replace("runs/iemocap/fold-5/model", "model"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_ten_lines_of_the_leaf_page_are_those_of_the_example() -> None:
    quoted = python_blocks(LEAF_PAGE)[0]
    assert len(quoted.splitlines()) == 10
    assert textwrap.indent(quoted, "    ") in EXAMPLE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_learns_to_tell_new_sounds_apart() -> None:
    with torch.random.fork_rng():
        assert runpy.run_path(str(EXAMPLE))["main"]() > 0.9


def test_the_leaf_page_compares_with_the_reference_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(python_blocks(LEAF_PAGE)[1], {})
    # Both sum over taps and windows of 401 samples in single precision.
    assert float(printed.getvalue()) < rounding(3 * 401)


def test_the_leaf_page_tells_every_argument_and_its_default() -> None:
    rows = re.findall(r"^\| (`.+?`) \| (`.+?`) \|", LEAF_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = [pair for names, values in rows for pair in zip(names.split(", "), values.split(", "), strict=True)]
    parameters = inspect.signature(Leaf).parameters.values()
    assert told == [(f"`{parameter.name}`", f"`{parameter.default}`") for parameter in parameters]


@pytest.mark.parametrize("name", PICTURE.findall(LEAF_PAGE.read_text(encoding="utf-8")))
def test_the_leaf_pages_pictures_are_small_and_drawn_by_the_command(name: str) -> None:
    path = LEAF_PAGE.parent / name
    title = ElementTree.parse(path).getroot().findtext("{http://www.w3.org/2000/svg}title")
    titles = {picture.name: picture.title for picture in PICTURES} | {"features": FEATURES_TITLE}
    assert title == titles[path.stem]
    assert path.stat().st_size < 150_000


@pytest.mark.parametrize("sigma", [50, 64, 96])
@pytest.mark.parametrize("band", [math.pi / 2, math.pi / 4])
def test_what_a_cut_filter_scatters_is_what_the_leaf_page_says(sigma: float, band: float) -> None:
    half, size = 200, 2**16
    power = np.abs(np.fft.fft(np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sigma**2)), size)) ** 2
    beyond = np.abs(np.fft.fftfreq(size)) * 2 * math.pi > band
    step = math.exp(-(half**2) / (2 * sigma**2))
    told = step**2 / math.tan(band / 2) / (math.pi**1.5 * sigma)
    assert power[beyond].sum() / power.sum() == pytest.approx(told, rel=0.1)
