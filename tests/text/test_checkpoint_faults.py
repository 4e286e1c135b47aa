"""Pretrained encoders that cannot be loaded: other kinds of model, missing files, and faults of a hub."""

import json
import math
import os
import struct
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub.constants
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from moodline.errors import MoodlineError
from moodline.modeling import pretrained_files
from moodline.modeling.pretrained import build_empty, load_pretrained
from moodline.modeling.text_encoder import KEY, load_text_backbone
from moodline.runtime import measure_memory
from tests.text.families import write_encoder

COMMIT = "c" * 40


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "roberta", "roberta")


def refusal(name: str | Path, code: str, revision: str | None = None) -> str:
    with pytest.raises(MoodlineError) as refused:
        load_text_backbone(str(name), 512, revision)
    message = str(refused.value)
    assert refused.value.code == code, message
    assert "\n" not in message
    assert str(name) in message
    assert "text_utterance." in message
    return message


OTHERS = {
    "gpt2": transformers.GPT2Config,
    "t5": transformers.T5Config,
    "vit": transformers.ViTConfig,
    "wav2vec2": transformers.Wav2Vec2Config,
    "bart": transformers.BartConfig,
    "whisper": transformers.WhisperConfig,
    "fnet": transformers.FNetConfig,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_model_that_does_not_encode_words_is_refused(tmp_path: Path, kind: str) -> None:
    """The description is enough: no weights are read."""
    OTHERS[kind]().save_pretrained(tmp_path)
    assert f" {kind} " in refusal(tmp_path, "model.unfit_encoder")


def test_a_decoder_of_an_encoders_family_is_refused(roberta: Path) -> None:
    content = json.loads((roberta / "config.json").read_text())
    (roberta / "config.json").write_text(json.dumps(content | {"is_decoder": True}))
    refusal(roberta, "model.unfit_encoder")


def test_words_are_no_speech(roberta: Path) -> None:
    with pytest.raises(MoodlineError, match="roberta") as refused:
        load_pretrained(str(roberta), key="audio_utterance.pretrained", kind="audio")
    assert refused.value.code == "model.unfit_encoder"


def test_an_unknown_family_is_refused(roberta: Path) -> None:
    content = json.loads((roberta / "config.json").read_text())
    (roberta / "config.json").write_text(json.dumps(content | {"model_type": "nonesuch"}))
    assert "nonesuch" in refusal(roberta, "model.unreadable_encoder")


def test_weights_of_other_sizes_than_described_are_refused(roberta: Path) -> None:
    content = json.loads((roberta / "config.json").read_text())
    (roberta / "config.json").write_text(json.dumps(content | {"intermediate_size": 2 * content["intermediate_size"]}))
    assert "other sizes than its config.json" in refusal(roberta, "model.unreadable_encoder")


def test_the_code_of_a_folder_never_runs(roberta: Path, tmp_path: Path) -> None:
    (roberta / "own.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    content = json.loads((roberta / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (roberta / "config.json").write_text(json.dumps(content | {"auto_map": own}))
    load_text_backbone(str(roberta), 512)  # the class of transformers
    (roberta / "config.json").write_text(json.dumps(content | {"auto_map": own, "model_type": "nonesuch"}))
    refusal(roberta, "model.unreadable_encoder")
    assert not (tmp_path / "sprung").exists()


def test_missing_files_are_named(roberta: Path) -> None:
    weights = roberta / "model.safetensors"
    saved = load_file(weights)
    name = min(saved)
    save_file({key: value for key, value in saved.items() if key != name}, weights, {"format": "pt"})
    assert name in refusal(roberta, "model.unreadable_encoder")
    weights.unlink()
    assert "model.safetensors" in refusal(roberta, "model.unreadable_encoder")
    save_file(saved, weights, {"format": "pt"})
    for path in roberta.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in refusal(roberta, "model.unreadable_encoder")


def test_a_tokenizer_of_a_missing_library_is_refused(roberta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (roberta / "spm.model").write_bytes(b"pieces")
    load_text_backbone(str(roberta), 512)  # tokenizer.json is enough
    (roberta / "tokenizer.json").unlink()
    with pytest.raises(MoodlineError, match=r"moodline\[sentencepiece\]") as refused:
        load_text_backbone(str(roberta), 512)
    assert refused.value.code == "model.missing_sentencepiece"


def test_weights_in_several_files_are_read(roberta: Path) -> None:
    saved = load_file(roberta / "model.safetensors")
    names = sorted(saved)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, half in halves.items():
        save_file({name: saved[name] for name in half}, roberta / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, half in halves.items() for name in half}}
    (roberta / "model.safetensors.index.json").write_text(json.dumps(index))
    (roberta / "model.safetensors").unlink()
    found = load_pretrained(str(roberta), key=KEY).state_dict()
    assert all(torch.equal(found[name], saved[name]) for name in found)
    (roberta / "model-2.safetensors").unlink()
    assert "model-2.safetensors" in refusal(roberta, "model.unreadable_encoder")


def test_weights_in_half_precision_are_read_in_single_precision(roberta: Path) -> None:
    model = transformers.AutoModel.from_pretrained(roberta, dtype=torch.float16)
    model.save_pretrained(roberta)
    backbone = load_pretrained(str(roberta), key=KEY)
    assert {weight.dtype for weight in backbone.parameters()} == {torch.float32}


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_not_finite_are_refused(roberta: Path, value: float) -> None:
    model = transformers.AutoModel.from_pretrained(roberta)
    name = "encoder.layer.1.output.dense.bias"
    with torch.no_grad():
        model.get_parameter(name)[3] = value
    model.save_pretrained(roberta)
    assert name in refusal(roberta, "model.not_finite")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_weights_larger_than_memory_are_refused_before_they_are_read(roberta: Path, dtype: str) -> None:
    """A sparse file whose header declares one tensor; half precision needs twice its bytes."""
    memory = measure_memory()
    if memory is None:
        pytest.skip("this system does not report its memory")
    content = json.loads((roberta / "config.json").read_text())
    (roberta / "config.json").write_text(json.dumps(content | {"dtype": dtype}))
    size = (memory if dtype == "float32" else memory // 2) + 2**30
    size -= size % 4
    kind = {"float32": "F32", "float16": "F16"}[dtype]
    count = size // (4 if dtype == "float32" else 2)
    header = json.dumps({"weight": {"dtype": kind, "shape": [count], "data_offsets": [0, size]}}).encode()
    (roberta / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    try:
        os.truncate(roberta / "model.safetensors", 8 + len(header) + size)
    except OSError:
        pytest.skip("this file system has no sparse files of this size")
    message = refusal(roberta, "model.too_large")
    needed = size * (1 if dtype == "float32" else 2)
    assert f"{needed / 2**30:.1f} GiB" in message
    assert f"{memory / 2**30:.1f} GiB" in message


@pytest.mark.parametrize("change", [{"num_hidden_layers": 10**9}, {"hidden_size": 10**6}, {"vocab_size": 10**10}])
def test_a_description_larger_than_its_weights_is_refused_before_memory_is_taken(
    roberta: Path, change: dict[str, int]
) -> None:
    """None of these fits into a machine's memory."""
    content = json.loads((roberta / "config.json").read_text())
    (roberta / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(MoodlineError, match=r"config\.json") as refused:
        build_empty(roberta / "config.json", roberta / "model.safetensors", prefix="")
    assert refused.value.code == "model.invalid_encoder"


class Hub(BaseHTTPRequestHandler):
    """A hub with one model, someone/roberta, whose only revisions are main and its commit."""

    folder: Path
    read: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        owner, name, verb, revision, *rest = [*path.removeprefix("/api/models").strip("/").split("/"), "", ""]
        file = self.folder / "/".join(rest).strip("/")
        fault, content = "", b""
        if (owner, name) != ("someone", "roberta"):
            fault = "RepoNotFound"
        elif revision not in ("main", COMMIT):
            fault = "RevisionNotFound"
        elif verb == "resolve" and file.is_file():
            content = file.read_bytes()
        elif verb == "tree" and file == self.folder:
            files = [{"type": "file", "path": one.name, "size": 1, "oid": "0"} for one in self.folder.iterdir()]
            content = json.dumps(files).encode()
        elif verb == "revision":
            content = json.dumps({"id": "someone/roberta", "sha": COMMIT, "siblings": []}).encode()
        else:
            fault = "EntryNotFound"
        self.send_response(404 if fault else 200)
        if fault:
            self.send_header("X-Error-Code", fault)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{len(content)}-{file.name}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
            self.read.append(file.name)


@pytest.fixture
def hub(roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.folder, Hub.read = roberta, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
    yield Hub
    server.shutdown()
    server.server_close()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """Do what HF_ENDPOINT and HF_HUB_CACHE do when the hub's library is imported."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    # Newer versions keep the endpoint of their first call, and where it is out of reach, try for most of a minute.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)


def test_a_hubs_model_is_read_and_then_found_in_the_cache(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, tokenizer = load_text_backbone("someone/roberta", 512)
    assert "model.safetensors" in hub.read
    saved = load_file(hub.folder / "model.safetensors")
    assert all(torch.equal(weight, saved[name]) for name, weight in backbone.state_dict().items())
    assert pretrained_files.fingerprint_model("someone/roberta", KEY) == COMMIT
    hub.read.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    again, its = load_text_backbone("someone/roberta", 512, COMMIT)
    assert hub.read == []
    assert again.state_dict().keys() == backbone.state_dict().keys()
    assert its(["so sad"])[0].tolist() == tokenizer(["so sad"])[0].tolist()
    message = refusal("someone/roberta", "model.unreachable_hub", "another")
    assert "another" in message
    assert "Connect" in message  # the name may be right


def test_faults_of_a_hub_are_one_sentence(hub: type[Hub]) -> None:
    message = refusal("someone/roberta", "model.unknown_revision", "v9")
    assert "'v9'" in message
    assert "text_utterance.revision" in message
    refusal("someone/nonesuch", "model.unreadable_encoder")
    (hub.folder / "model.safetensors").unlink()
    assert "model.safetensors" in refusal("someone/roberta", "model.unreadable_encoder")
    (hub.folder / "config.json").unlink()
    assert "config.json" in refusal("someone/roberta", "model.unreadable_encoder")


def test_a_hubs_model_larger_than_memory_is_not_downloaded(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained_files, "measure_memory", lambda: 2**10)
    refusal("someone/roberta", "model.too_large")
    assert "model.safetensors" not in hub.read


def test_a_closed_port_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    use_endpoint(monkeypatch, "http://127.0.0.1:1", tmp_path)
    refusal("someone/roberta", "model.unreachable_hub")
