"""Models on a hub: uploaded, downloaded, checked and refused, against a stand-in on loopback."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData

import moodline
from moodline.config import STAGES
from moodline.hub import MODEL_FILES, list_model_files, locate_model
from moodline.modeling import faster_whisper
from tests.inference.tiny_models import write_model
from tests.refusals import refuses
from tests.stand_in_hub import Repository, StandInHub, git_hash, serve_hub, settings, use_hub
from tests.system import refused
from tests.text.families import write_encoder

TEXTS = ["I am so happy.", "You are not.", "I am sad."]
NAME = "some-org/tiny_model.v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("hub"), "text")


@pytest.fixture(scope="module")
def model(folder: Path) -> moodline.Model:
    return moodline.load(folder, device="cpu")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    """A hub without repositories, and this process with an empty cache of it."""
    with serve_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "cache")
        yield hub


def probabilities(model: moodline.Model) -> list[dict[str, float]]:
    return [dict(turn.probabilities) for turn in model.predict(TEXTS).turns]


def publish(hub: StandInHub, folder: Path, **changed: bytes) -> str:
    """Commit a model folder to the hub, some of its files changed."""
    files = {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    return hub.repositories.setdefault(NAME, Repository()).commit(files | changed)


def test_a_model_returns_from_the_hub_as_it_was(
    hub: StandInHub, model: moodline.Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = model.push_to_hub(NAME)
    commit = hub.repositories[NAME].branches["main"]
    assert address == f"{hub.endpoint}/{NAME}/commit/{commit}"
    found = moodline.Model.from_pretrained(NAME, device="cpu")
    assert probabilities(found) == probabilities(model)
    assert found.name == f"{NAME}@{commit}"  # which loads this very commit later
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    for offline in (moodline.load(NAME, device="cpu"), moodline.load(found.name, device="cpu")):
        assert probabilities(offline) == probabilities(model)
    assert len(hub.requests) == asked


def test_an_upload_replaces_the_models_own_files_alone(hub: StandInHub, folder: Path, model: moodline.Model) -> None:
    publish(hub, folder, **{"fusion.safetensors": b"former", "LICENSE": b"terms", "extra/notes.md": b"mine"})
    model.push_to_hub(NAME, revision="next")
    repository = hub.repositories[NAME]
    uploaded = repository.commits[repository.branches["next"]]
    assert uploaded.keys() == repository.commits[repository.branches["main"]].keys() - {"fusion.safetensors"}
    assert (uploaded["LICENSE"], uploaded["extra/notes.md"]) == (b"terms", b"mine")
    assert f'moodline.load("{NAME}")' in uploaded["README.md"].decode()


def test_a_revision_is_loaded_by_branch_and_by_commit(hub: StandInHub, folder: Path, model: moodline.Model) -> None:
    first = publish(hub, folder)
    described = json.loads((folder / "config.json").read_text())
    second = publish(
        hub,
        folder,
        **{
            "config.json": json.dumps(
                described | {"temperatures": {stage: 2.0 for stage in STAGES if stage.startswith("text")}}
            ).encode()
        },
    )
    hub.repositories[NAME].branches["release/1"] = first
    newest = moodline.load(NAME, device="cpu")
    assert (newest.name, newest.model.get_temperature("text_context")) == (f"{NAME}@{second}", 2.0)
    for name, revision in ((NAME, "release/1"), (NAME, first), (f"{NAME}@release/1", None), (f"{NAME}@{first}", None)):
        found = moodline.load(name, revision=revision, device="cpu")
        assert (found.name, found.model.get_temperature("text_context")) == (f"{NAME}@{first}", 1.0)
    with refuses("hub.no_revision", NAME, "gone"):
        moodline.load(NAME, revision="gone")
    with refuses("option.contradiction", "release/1", first):
        moodline.load(f"{NAME}@release/1", revision=first)


def test_only_a_models_files_are_downloaded(hub: StandInHub, folder: Path) -> None:
    publish(hub, folder, **{"pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit", "bert/run.py": b""})
    found = locate_model(NAME)
    names = {one.relative_to(found).as_posix() for one in found.rglob("*") if one.is_file()}
    assert names == {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
    assert not any(re.search(r"pytorch_model|\.py", request) for request in hub.requests)


@pytest.mark.parametrize("file", ["text_context.safetensors", "bert/tokenizer.json", "README.md"])
def test_a_file_that_changed_in_the_cache_is_refused(hub: StandInHub, folder: Path, file: str) -> None:
    publish(hub, folder)
    place = locate_model(NAME) / file
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    blob = place.resolve()
    blob.write_bytes(content)
    large = file.endswith(".safetensors")
    found = hashlib.sha256(content).hexdigest() if large else git_hash(bytes(content))
    expected = (
        hashlib.sha256((folder / file).read_bytes()).hexdigest() if large else git_hash((folder / file).read_bytes())
    )
    with refuses("hub.changed_file", place, found, expected, blob):
        moodline.load(NAME)
    blob.unlink()  # the remedy of the sentence
    moodline.load(NAME, device="cpu")


def test_a_cache_without_links_is_used_with_a_note(
    hub: StandInHub, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(hub, folder)
    place = locate_model(NAME) / "config.json"
    content = place.read_bytes()
    place.unlink()
    place.write_bytes(content)
    caplog.clear()
    locate_model(NAME)
    assert [str(place) in record.getMessage() for record in caplog.records] == [True]


def test_a_folder_comes_before_the_hub(hub: StandInHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder.parent.parent
    monkeypatch.chdir(place)
    named = folder.relative_to(place).as_posix()
    assert re.fullmatch(r"[^/]+/model", named)
    assert locate_model(named) == Path(named)
    assert locate_model(Path(NAME)) == Path(NAME)  # a path never names a model on the hub
    assert not hub.requests
    with refuses("option.unfit", named, "main"):
        moodline.load(named, revision="main")


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (404, "RepoNotFound", "hub.no_repository"),
        (404, "", "hub.no_repository"),
        (401, "RepoNotFound", "hub.no_access"),
        (401, "", "hub.no_access"),
        (403, "GatedRepo", "hub.no_access"),
        (403, "", "hub.no_access"),
        (500, "", "hub.out_of_reach"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub: StandInHub, status: int, error: str, code: str) -> None:
    hub.refused[NAME] = (status, error)
    with refuses(code, NAME, *([status] if code != "hub.no_repository" else [])):
        moodline.load(NAME)


def test_a_hub_out_of_reach_uses_the_cache(
    hub: StandInHub, folder: Path, model: moodline.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, folder)
    locate_model(NAME)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing answers
    assert probabilities(moodline.load(NAME, device="cpu")) == probabilities(model)
    with refuses("hub.out_of_reach", "other/model", constants.HF_HUB_CACHE):
        moodline.load("other/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refuses("hub.out_of_reach", "other/model", "HF_HUB_OFFLINE"):
        moodline.load("other/model")


@pytest.mark.parametrize(
    "content", [None, b"not JSON", b'{"model_type": "bert"}', b'{"schema": 3, "recipe": {}}', b"[" * 9999]
)
def test_another_librarys_model_is_refused(hub: StandInHub, folder: Path, content: bytes | None) -> None:
    publish(hub, folder)
    files = next(iter(hub.repositories[NAME].commits.values()))
    if content is None:
        del files["config.json"]
    else:
        files["config.json"] = content
    with refuses("hub.not_a_model", NAME):
        moodline.load(NAME)


def test_an_encoder_alone_is_refused_with_the_options_that_take_it(hub: StandInHub, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder", "roberta")
    options = ("roberta", "--audio_utterance.pretrained", "--text_utterance.pretrained")
    with refuses("model.untrained_encoder", encoder, *options):
        moodline.load(encoder)
    publish(hub, encoder)
    with refuses("hub.not_a_model", NAME, *options):
        moodline.load(NAME)


def test_a_download_that_stops_is_repeated(hub: StandInHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, folder)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cut = {"text_context.safetensors"}
    with refuses("hub.download_stopped", NAME):
        moodline.load(NAME)
    hub.cut.clear()
    hub.requests.clear()
    moodline.load(NAME, device="cpu")
    assert any("text_context.safetensors" in one for one in hub.requests)


def test_a_full_disk_is_named(hub: StandInHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with refuses("file.not_writable", constants.HF_HUB_CACHE, os.strerror(errno.ENOSPC)):
        moodline.load(NAME)


def test_an_upload_needs_a_login_and_the_right(
    hub: StandInHub, model: moodline.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model", "org/name@main", "a/b/c", ""):
        with refuses("hub.invalid_name", repr(name)):
            model.push_to_hub(name)
    hub.refused["other/model"] = (403, "")
    with refuses("hub.no_access", "other/model", 403):
        model.push_to_hub("other/model")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with refuses("hub.no_access", NAME, 401):
        model.push_to_hub(NAME)
    monkeypatch.delenv("HF_TOKEN")
    asked = len(hub.requests)
    with refuses("hub.no_token", NAME):
        model.push_to_hub(NAME)
    assert len(hub.requests) == asked
    assert not hub.repositories


def test_a_saved_model_is_the_same_and_other_files_stay(model: moodline.Model, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/notes.txt").write_text("mine")
    model.save_pretrained(tmp_path / "saved")
    found = moodline.load(tmp_path / "saved", device="cpu")
    assert probabilities(found) == probabilities(model)
    assert found.model.provenance == model.model.provenance
    assert found.model.recipe == model.model.recipe
    assert (tmp_path / "saved/notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with refuses("file.not_writable", tmp_path / "file"):
        model.save_pretrained(tmp_path / "file")


def test_a_saved_model_of_speech_and_words_has_the_same_weights(tmp_path: Path) -> None:
    model = moodline.load(write_model(tmp_path, "both"), device="cpu")
    model.save_pretrained(tmp_path / "saved")
    expected, found = (
        one.model.network.state_dict() for one in (model, moodline.load(tmp_path / "saved", device="cpu"))
    )
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_the_commands_take_a_model_on_the_hub(
    hub: StandInHub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = publish(hub, folder)
    (tmp_path / "chat.csv").write_text("speaker,words\nA,I am so happy.\nB,No\n")
    command = [
        sys.executable,
        "-m",
        "moodline",
        "predict",
        "chat.csv",
        "--format",
        "json",
        "--device",
        "cpu",
        "--model",
    ]
    environment = os.environ | settings(hub, tmp_path / "home")

    def run(named: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, named], cwd=tmp_path, env=environment | changed, capture_output=True, text=True, check=False
        )

    online = run(NAME)
    assert online.returncode == 0, online.stderr
    assert all(line.startswith("moodline: ") for line in online.stderr.splitlines())  # no bars off a terminal
    asked = len(hub.requests)
    offline = run(f"{NAME}@{commit}", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout) == (0, online.stdout), offline.stderr
    assert len(hub.requests) == asked
    assert f"{NAME}@{commit}" in online.stdout
    error = refused(capsys, "predict", tmp_path / "chat.csv", "--device", "cpu", "--model", f"{NAME}@gone")
    assert "'gone'" in str(error)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("plot", "leaf", NAME, "-o", "out"), "model.no_audio_encoder"),
        (("evaluate", "--model", NAME, "--corpus", "none", "-o", "out"), "file.no_folder"),
    ],
)
def test_every_command_gets_as_far_as_with_a_folder(
    hub: StandInHub,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: tuple[str, ...],
    code: str,
) -> None:
    publish(hub, folder)
    monkeypatch.chdir(tmp_path)
    for named in (NAME, str(folder)):
        arguments = [named if one == NAME else one for one in command]
        assert refused(capsys, *arguments).code == code
    assert hub.requests


def test_the_cards_header_is_a_model_cards(model: moodline.Model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert isinstance(card.data, ModelCardData)
    data = card.data.to_dict()
    assert data["library_name"] == "moodline"
    assert data["pipeline_tag"] == "text-classification"
    assert data["license"] == "unknown"
    assert data["metrics"] == ["accuracy", "recall"]
    assert "datasets" not in data  # none that is known
    assert card.text.lstrip().startswith("# A moodline model")


def test_every_file_of_a_model_is_one_that_is_uploaded(folder: Path) -> None:
    assert list_model_files(folder) == sorted(one for one in folder.rglob("*") if one.is_file())
    assert len(MODEL_FILES) == len(set(MODEL_FILES))
    assert all(any(fnmatch(f"audio/{name}", pattern) for pattern in MODEL_FILES) for name in faster_whisper.FILES)
