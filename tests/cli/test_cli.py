"""What a user meets: sentences and exit codes for mistakes, and output that other programs read."""

import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from moodline.cli.main import COMMANDS
from moodline.cli.options import accept_dashes
from moodline.corpora.corpus import read_corpus
from tests.system import SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and a run of words alone: corpus/, tree/, tiny.yaml, run/."""
    place = tmp_path_factory.mktemp("cli")
    write_tree(place / "tree")
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    moodline(*train(place, "run"))
    return place


def train(place: Path, out: str, *options: object) -> tuple[object, ...]:
    recipe = ("--recipe", place / "tiny.yaml", "--protocol", "session5", "--modalities", "text")
    return "train", place / "corpus", *recipe, "-o", place / out, *options


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence that a user's mistake gets, with exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        moodline(*arguments)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("moodline: ")
    return line


def test_help_answers_without_torch() -> None:
    code = (
        "import sys\nfrom moodline.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as exit_:\n    assert exit_.code == 0\n"
        "heavy = {'torch', 'transformers', 'lightning', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(
        command in result.stdout
        for command in ("prepare", "inspect", "transcribe", "train", "evaluate", "predict", "embed", "plot")
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evalute"], ["evalute", "evaluate"]),
        ([], ["prepare", "train"]),
        (["prepare", "iemocap", "{place}/bert", "-o", "{place}/x"], ["is not IEMOCAP", "Session1"]),
        (["prepare", "iemocap", "{place}/none", "-o", "{place}/x"], ["none", "check the path"]),
        (["inspect", "{place}/tiny.yaml"], ["tiny.yaml is no corpus folder", "it is a file; give the folder"]),
        (["inspect", "{place}/tree"], ["is no corpus folder", "corpus.json"]),
        (["evaluate", "{place}/corpus"], ["is no run folder", "run.json"]),
        (["evaluate", "{place}/rnu"], ["there is no folder {place}/rnu: check the path of the run folder"]),
        (["inspect", "{place}/corpsu"], ["there is no folder {place}/corpsu: check the path of the corpus folder"]),
        (["predict", "{place}/corpus", "--model", "{place}/rnu/model"], ["there is no folder {place}/rnu/model"]),
        (["evaluate"], ["--model FOLDER --corpus OTHER"]),
        (["predict", "{place}/corpus", "--model", "{place}/run"], ["{place}/run/fold-5/model"]),
        (["predict", "{place}/corpus", "--model", "{place}/run/fold-5"], ["{place}/run/fold-5/model"]),
        (["inspect"], ["missing required argument: CORPUS; see moodline --help"]),
        (["train"], ["missing required arguments: CORPUS, --recipe, --protocol, -o; see moodline --help"]),
        (["inspect", "{place}/corpus", "more"], ["moodline: moodline inspect has no option 'more'"]),
        (["evaluate", "{place}/run", "--label-set", "meld4"], ["--label-set needs --model"]),
        (["evaluate", "{place}/run", "--corpus", "{place}/corpus"], ["--corpus needs --model"]),
        (["evaluate", "{place}/run", "-o", "{place}/scores"], ["-o needs --model"]),
        *(
            (
                ["evaluate", "--model", "{place}/run/fold-5/model", "--corpus", "{place}/corpus", "-o", folder],
                [f"{folder} is a {what}: choose another -o for "],
            )
            for folder, what in (
                ("{place}/run", "run"),
                ("{place}/corpus", "corpus"),
                ("{place}/run/fold-5/model", "model"),
            )
        ),
        (["prepare", "meld", "{place}/tree", "-o", "{place}/x"], ["is not MELD", "train_sent_emo.csv"]),
        (["prepare", "ravdess", "{place}/tree", "-o", "{place}/x"], ["is not RAVDESS", "Actor_01"]),
        (["prepare", "table", "{place}/tree", "-o", "{place}/x"], ["there is no table {place}/tree"]),
        (["evaluate", "--model", "{place}/run/fold-5/model"], ["--model FOLDER --corpus OTHER"]),
        (["predict", "{place}/corpus", "--model", "{place}/corpus"], ["is no model folder", "config.json"]),
        (["plot", "leaf", "{place}/corpus", "-o", "{place}/x"], ["is no model folder", "config.json"]),
        (["plot", "leaf", "{place}/run/fold-5", "-o", "{place}/x"], ["model has no LEAF", "reads words alone"]),
        (["plot", "leave", "{place}/run", "-o", "{place}/x"], ["leave", "leaf"]),
        (
            ["predict", "{place}/corpus", "--model", "{place}/run/fold-5/model", "--conversation", "Ses09"],
            ["no conversation 'Ses09'", "Ses01F_impro01"],
        ),
        (
            ["predict", "{place}/corpus", "--model", "{place}/run/fold-5/model", "--conversation", ""],
            ["no conversation ''", "Ses01F_impro01"],
        ),
    ],
)
def test_mistakes_get_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    sentence = mistake(capsys, *(argument.format(place=place) for argument in arguments))
    assert all(word.format(place=place) in sentence for word in words), sentence
    assert not (place / "x").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fusion.layrs", "2"], ["fusion.layrs", "did you mean --fusion.layers"]),
        (["--fusion.layers", "0"], ["fusion.layers", "greater than 0", "0"]),
        (["--fusion.layers", "two"], ["fusion.layers", "two"]),
        (["--fusion", "3"], ["fusion must be a section of keys and values, not 3; see moodline train --help"]),
        (["--fusion", "null"], ["fusion must be a section of keys and values, not null; see moodline train --help"]),
        (["--fusion.training", "3"], ["fusion.training must be a section of keys and values, not 3;"]),
        (["--audio_utterance.channels", "4"], ["audio_utterance.channels must be a list, not 4;"]),
        (["--text_utterance.num_unfrozen_layers", "x"], ["num_unfrozen_layers must be a whole number or null, not x;"]),
        (["--protocol", "kfold05"], ["kfold5 (or 3, ...)", "'kfold05'"]),
        (["--context", "some"], ["context must be one of labelled, all, not some; see moodline train --help"]),
        (["--fusion.heads", "5"], ["fusion.heads", "divisor of hidden", "5"]),
        (["--protocol", "cv7"], ["session5, cv5, cv10", "cv7"]),
        (["--fold", "7"], ["no fold '7'"]),
        (["--recipe", "smal"], ["smal", "demo, iemocap, iemocap-10ms, small"]),
        (["--label_set", "iemocap5"], ["label_set", "iemocap4, iemocap6", "iemocap5"]),
        (["--label-set", "none.yaml"], ["none.yaml", "iemocap4, iemocap6"]),
        (["--text_utterance.bert", "wheel:none"], ["wheel:all-minilm-l6-v2", "wheel:none"]),
        (["--devises", "2"], ["--devises", "--devices"]),
        (["--audio-embedings", "x"], ["--audio-embedings", "--audio-embeddings"]),
        (["--text-embeddings", "none.parquet"], ["no file of embeddings none.parquet"]),
    ],
)
def test_mistakes_in_training_get_a_sentence_before_anything_trains(
    place: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: list[str]
) -> None:
    sentence = mistake(capsys, *train(place, "new", *options))
    assert all(word in sentence for word in words), sentence
    assert not (place / "new" / "fold-5" / "model").exists()
    shutil.rmtree(place / "new", ignore_errors=True)


def test_a_recipes_unknown_key_is_named_with_the_nearest(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "odd.yaml"
    recipe.write_text("audio_context:\n  hiden: 50\n")
    sentence = mistake(capsys, *train(place, "new", "--recipe", recipe))
    assert "audio_context.hiden" in sentence
    assert "audio_context.hidden" in sentence
    assert str(recipe) in sentence


def test_an_output_folder_of_another_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = mistake(capsys, *train(place, "run", "--seed", "7"))
    assert "holds another run" in sentence
    assert "recipe.seed" in sentence
    sentence = mistake(capsys, *train(place, "corpus"))
    assert "neither empty nor a run" in sentence


def test_a_run_in_training_is_not_entered_by_a_second(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import filelock

    with filelock.FileLock(place / "run" / ".lock"):
        assert "another process is training in" in mistake(capsys, *train(place, "run"))


def test_a_model_of_a_newer_schema_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(place / "run/fold-5/model", model)
    content = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(content | {"schema": content["schema"] + 1}))
    sentence = mistake(capsys, "predict", place / "corpus", "--model", model)
    assert "install a newer moodline" in sentence
    (model / "config.json").write_text(json.dumps(content))
    (model / "text_context.safetensors").write_bytes(b"broken")
    assert "text_context.safetensors" in mistake(capsys, "predict", place / "corpus", "--model", model)
    (model / "text_context.safetensors").unlink()
    assert "lacks text_context.safetensors" in mistake(capsys, "predict", place / "corpus", "--model", model)
    shutil.rmtree(model / "bert")
    assert "lacks bert/config.json. Copy the whole" in mistake(capsys, "predict", place / "corpus", "--model", model)


def test_what_a_fold_lacks_is_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    content = json.loads((run / "run.json").read_text())
    content["recipe"]["text_context"]["dropout"] = 0.125
    (run / "run.json").write_text(json.dumps(content))
    assert "; fold 5: text_context.dropout was 0.2 and is 0.125. Finish" in mistake(capsys, "evaluate", run)
    (run / "fold-5/model/config.json").unlink()
    (run / "fold-5/stages/text_context.json").unlink()
    assert "; fold 5: not trained yet: the stage (text context). Finish" in mistake(capsys, "evaluate", run)


def test_audio_that_went_missing_is_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "tree", seed=3)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    shutil.rmtree(tmp_path / "tree" / "Session3")
    options = ("--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", tmp_path / "run")
    assert "Session3" in mistake(capsys, "train", tmp_path / "corpus", *options)


def test_sound_that_is_no_number_stops_training_and_is_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What prepare leaves out, where it came after prepare."""
    write_tree(tmp_path / "tree", seed=4)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    turns = [turn for turn in read_corpus(tmp_path / "corpus").utterances if turn.id.startswith("Ses03")]
    turn = next(turn for turn in turns if turn.label == "sad")
    assert turn.audio is not None
    samples, rate = soundfile.read(turn.audio.path)
    samples[len(samples) // 2] = np.nan
    soundfile.write(turn.audio.path, samples, rate, subtype="FLOAT")
    options = ("--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", tmp_path / "run")
    sentence = mistake(capsys, "train", tmp_path / "corpus", *options)
    assert f"the speech of {turn.id} cannot be read: audio samples must be finite numbers" in sentence
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_the_demo_corpus_is_not_taken_for_iemocap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moodline("prepare", "demo", "-o", tmp_path / "corpus", "--conversations", "1")
    assert read_corpus(tmp_path / "corpus").reader == "demo"
    capsys.readouterr()
    moodline("inspect", tmp_path / "corpus")
    told = capsys.readouterr().out
    assert told.startswith("demo, ")
    assert "IEMOCAP" not in told


def test_a_demo_corpus_of_another_number_or_seed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare = ("prepare", "demo", "-o", tmp_path / "corpus", "--conversations", "1")
    moodline(*prepare)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for other in (("--conversations", "2"), ("--seed", "1")):
        sentence = mistake(capsys, *prepare, *other)
        assert "corpus-tree is not the demo corpus of" in sentence
        assert " ".join(other) in sentence
        assert "remove that folder" in sentence
    moodline(*prepare)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_place_for_a_demo_corpus_is_looked_at_before_it_is_made(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    (tmp_path / "other-tree").mkdir()
    options = ("--conversations", "1")
    assert "neither an empty folder" in mistake(capsys, "prepare", "demo", "-o", tmp_path / "file", *options)
    assert "here it is demo" in mistake(capsys, "prepare", "demo", "-o", tmp_path / "corpus", *options)
    assert "no demo.json" in mistake(capsys, "prepare", "demo", "-o", tmp_path / "other", *options)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "corpus", "other-tree"}


def test_predictions_in_three_formats_agree(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("predict", place / "corpus", "--model", place / "run/fold-5/model", "--conversation", "Ses05F_impro01")
    moodline(*command, "--format", "json", "-o", tmp_path / "out.json")
    (conversation,) = json.loads((tmp_path / "out.json").read_text())
    capsys.readouterr()
    moodline(*command, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    moodline(*command)
    table = capsys.readouterr().out.splitlines()[1:]
    turns = read_corpus(place / "corpus").conversation("Ses05F_impro01").utterances
    assert conversation["conversation"] == "Ses05F_impro01"
    for turn, one, row, line in zip(turns, conversation["utterances"], rows, table, strict=True):
        assert turn.id == one["id"] == row["utterance"]
        assert turn.words == one["words"] == row["words"]
        assert one["label"] == row["label"]
        assert one["label"] in line
        for name, value in one["probabilities"].items():
            assert float(row[f"p_{name}"]) == pytest.approx(value, abs=SAME_PROBABILITY)


def test_speech_goes_into_the_report_where_it_is_asked_for(place: Path) -> None:
    moodline("evaluate", place / "run", "--with-audio")
    assert 'src="data:audio/flac;base64,' in (place / "run/report.html").read_text()
    moodline("evaluate", place / "run")
    assert "data:audio" not in (place / "run/report.html").read_text()


def test_words_stay_out_of_what_is_passed_on_where_that_is_asked_for(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [turn.words for turn in read_corpus(place / "corpus").utterances if turn.words]
    for option, quoted in ((), True), (("--no-words",), False):
        moodline("evaluate", place / "run", *option)
        assert any(html.escape(one) in (place / "run/report.html").read_text() for one in words) == quoted
        for form in ("table", "json", "csv"):
            capsys.readouterr()
            moodline("predict", place / "corpus", "--model", place / "run/fold-5/model", "--format", form, *option)
            assert any(one in capsys.readouterr().out for one in words) == quoted
    (tmp_path / "chat.csv").write_text("text,speaker\nunmistakable words,Ann\n", encoding="utf-8")
    formats = ("--format", "json,csv,html", "-o", tmp_path / "out")
    moodline("predict", tmp_path / "chat.csv", "--model", place / "run/fold-5/model", *formats, "--no-words")
    assert not [file for file in (tmp_path / "out").iterdir() if "unmistakable" in file.read_text(encoding="utf-8")]
    told = mistake(capsys, "evaluate", place / "run", "--no-words", "--with-audio")
    assert "--no-words" in told
    assert "--with-audio" in told


def test_what_is_passed_on_names_no_folder_of_this_machine(place: Path, tmp_path: Path) -> None:
    """The recipe's BERT, the corpus, its source and the model lie below ``place``, as they may below a home folder."""
    moodline("evaluate", place / "run")
    (tmp_path / "chat.csv").write_text("text,speaker\nyes,Ann\n", encoding="utf-8")
    formats = ("--format", "json,csv,html", "-o", tmp_path / "out")
    moodline("predict", tmp_path / "chat.csv", "--model", place / "run/fold-5/model", *formats)
    run = place / "run"
    passed_on = [*run.glob("*.html"), *run.glob("*.parquet"), run / "results.json", *(tmp_path / "out").iterdir()]
    passed_on += [file for file in (run / "fold-5/model").rglob("*") if file.is_file()]
    assert len(passed_on) > 10
    assert not [file.name for file in passed_on if str(place).encode() in file.read_bytes()]
    assert json.loads((tmp_path / "out/chat.json").read_text())["model"]["name"] == "run/fold-5/model"
    moodline(*train(place, "run"))  # the run knows its model again, and trains nothing
    assert (run / "results.json").is_file()


@pytest.mark.slow
def test_a_reader_that_closes_early_is_no_error(place: Path) -> None:
    """As in moodline predict ... | head -1."""
    command = f"{sys.executable} -m moodline.cli.main predict corpus --model run/fold-5/model | head -1"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0
    assert all(re.match(r"moodline: the (model|probabilities) ", line) for line in result.stderr.splitlines())
    assert result.stdout.strip() == "Ses01F_impro01  (text context)"


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        ("predict talk.wav", ["--why"], ["--explain"]),
        ("predict talk.wav", ["--audio-only"], ["--modalities", "audio"]),
        ("predict talk.wav", ["--words-only"], ["--modalities", "text"]),
        ("stream", ["--audio-only"], ["--modalities", "audio"]),
        ("stream", ["--words-only"], ["--modalities", "text"]),
        ("transcribe corpus", ["--words", "heard.csv"], ["--import-words", "heard.csv"]),
        ("transcribe corpus", ["--words=heard.csv"], ["--import-words", "heard.csv"]),
        ("transcribe corpus", ["--speak-words"], ["--tts"]),
        ("evaluate", ["--labels", "meld4"], ["--label-set", "meld4"]),
    ],
)
def test_a_deprecated_option_means_its_new_spelling_with_one_note(
    command: str, old: list[str], new: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *arguments = command.split()
    received: list[dict[str, Any]] = []
    add, _ = COMMANDS[name]
    monkeypatch.setitem(COMMANDS, name, (add, lambda options, given: received.append(given.as_dict())))
    moodline(name, *arguments, *old)
    noted = capsys.readouterr().err
    moodline(name, *arguments, *new)
    assert received[0] == received[1]
    assert capsys.readouterr().err == ""
    (note,) = noted.splitlines()
    assert {old[0].split("=")[0], new[0]} <= set(re.findall(r"--[\w-]+", note))
    with pytest.raises(SystemExit):
        moodline(name, "--help")
    shown = capsys.readouterr().out
    assert new[0] in shown
    assert not re.search(rf"{old[0].split('=')[0]}(?![\w-])", shown)


def test_deprecated_options_that_exclude_each_other_still_do(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = mistake(capsys, "predict", "talk.wav", "--audio-only", "--words-only")
    assert "--audio-only" in sentence
    assert "--words-only" in sentence


def test_a_recipes_keys_are_options_with_dashes_too() -> None:
    arguments = ["train", "--label-set=meld4", "--audio-context.self-attention", "no", "--label_set", "x", "-o", "y-z"]
    spelt = ["train", "--label_set=meld4", "--audio_context.self_attention", "no", "--label_set", "x", "-o", "y-z"]
    assert accept_dashes(arguments) == spelt


def test_help_tells_the_defaults_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        moodline("predict", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "speakers: each channel is one speaker (default: mixed)" in shown
    assert "replace files that exist" in shown
    assert "null" not in shown
    assert "False" not in shown
    assert "()" not in shown
