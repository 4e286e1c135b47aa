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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import moodline as package
from moodline import io as io_of_moodline
from moodline.cli.main import COMMANDS
from moodline.cli.options import accept_dashes
from moodline.cli.predict import format_csv
from moodline.corpora.corpus import read_corpus
from moodline.timeline.timeline import ConversationPrediction, UtterancePrediction
from tests.system import SAME_PROBABILITY, moodline, refused, write_recipe
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


MODEL = "{place}/run/fold-5/model"


@pytest.mark.parametrize(
    ("arguments", "code", "values"),
    [
        (["evalute"], "option.invalid", ["evalute", "evaluate"]),
        (
            ["prepare", "iemocap", "{place}/bert", "-o", "{place}/x"],
            "corpus.wrong_source",
            ["{place}/bert", "Session1"],
        ),
        (["prepare", "iemocap", "{place}/none", "-o", "{place}/x"], "corpus.no_source", ["{place}/none"]),
        (["prepare", "meld", "{place}/tree", "-o", "{place}/x"], "corpus.wrong_source", ["train_sent_emo.csv"]),
        (["prepare", "ravdess", "{place}/tree", "-o", "{place}/x"], "corpus.wrong_source", ["Actor_01"]),
        (["prepare", "table", "{place}/tree", "-o", "{place}/x"], "corpus.no_source", ["{place}/tree"]),
        (
            ["prepare", "demo", "-o", "{place}/x", "--conversations", "0"],
            "option.out_of_range",
            ["--conversations", "0"],
        ),
        (["inspect", "{place}/tiny.yaml"], "file.not_a_folder", ["{place}/tiny.yaml"]),
        (["inspect", "{place}/tree"], "file.other_folder", ["{place}/tree", "corpus.json", "moodline prepare"]),
        (["inspect", "{place}/corpsu"], "file.no_folder", ["{place}/corpsu"]),
        (["inspect"], "option.missing", ["CORPUS"]),
        (["inspect", "{place}/corpus", "more"], "option.unknown", ["moodline inspect", "'more'"]),
        (["train"], "option.missing", ["CORPUS, --protocol, -o"]),
        (["prepare", "table", "talk.csv"], "option.missing", ["-o", "see moodline prepare table --help"]),
        (["prepare"], "option.missing", ["iemocap, meld", "see moodline prepare --help"]),
        ([], "option.missing", ["prepare", "train", "see moodline --help"]),
        (["prepare", "demo"], "option.missing", ["-o", "see moodline prepare demo --help"]),
        (["plot", "leaf", "model"], "option.missing", ["-o", "see moodline plot leaf --help"]),
        (["evaluate", "{place}/corpus"], "file.other_folder", ["{place}/corpus", "run.json", "moodline train"]),
        (["evaluate", "{place}/rnu"], "file.no_folder", ["{place}/rnu"]),
        (["evaluate"], "option.contradiction", ["--model FOLDER --corpus OTHER -o OUT"]),
        (["evaluate", "--model", MODEL], "option.contradiction", ["--model FOLDER --corpus OTHER -o OUT"]),
        (["evaluate", "{place}/run", "--label-set", "meld4"], "option.unfit", ["--label-set", "--model"]),
        (["evaluate", "{place}/run", "--corpus", "{place}/corpus"], "option.unfit", ["--corpus", "--model"]),
        (["evaluate", "{place}/run", "-o", "{place}/scores"], "option.unfit", ["-o", "--model"]),
        (["evaluate", "{place}/run", "--no-words", "--with-audio"], "option.contradiction", ["--no-words"]),
        (["evaluate", "{place}/run", "--causal", "--with-audio"], "option.contradiction", ["--with-audio"]),
        *(
            (
                ["evaluate", "--model", MODEL, "--corpus", "{place}/corpus", "-o", folder],
                "file.occupied",
                [folder, what],
            )
            for folder, what in (("{place}/run", "a run"), ("{place}/corpus", "a corpus"), (MODEL, "a model"))
        ),
        (["predict", "{place}/corpus", "--model", "{place}/rnu/model"], "file.no_folder", ["{place}/rnu/model"]),
        (["predict", "{place}/corpus", "--model", "{place}/run"], "model.run_folder", [MODEL]),
        (["predict", "{place}/corpus", "--model", "{place}/run/fold-5"], "model.run_folder", [MODEL]),
        (["predict", "{place}/corpus", "--model", "{place}/corpus"], "file.other_folder", ["config.json"]),
        (
            ["predict", "{place}/corpus", "--model", MODEL, "--conversation", "Ses09"],
            "corpus.unknown_conversation",
            ["'Ses09'", "Ses01F_impro01"],
        ),
        (["predict", "{place}/corpus", "--model", MODEL, "--conversation", ""], "corpus.unknown_conversation", ["''"]),
        (
            ["predict", "{place}/corpus", "--model", MODEL, "--format", "srt"],
            "option.unknown_format",
            ["'srt'", "json"],
        ),
        (["predict", "{place}/corpus", "--model", MODEL, "--explain"], "option.unfit", ["--explain", "--format json"]),
        (["plot", "leaf", "{place}/corpus", "-o", "{place}/x"], "file.other_folder", ["{place}/corpus", "config.json"]),
        (["plot", "leaf", "{place}/run/fold-5", "-o", "{place}/x"], "model.no_audio_encoder", [MODEL]),
        (["plot", "leave", "{place}/run", "-o", "{place}/x"], "option.invalid", ["leave", "leaf"]),
    ],
)
def test_mistakes_get_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str, values: list[str]
) -> None:
    error = refused(capsys, *(argument.format(place=place) for argument in arguments))
    assert error.code == code
    assert [value for value in values if value.format(place=place) not in str(error)] == []
    assert not (place / "x").exists()


@pytest.mark.parametrize(
    ("options", "code", "values"),
    [
        (["--fusion.layrs", "2"], "recipe.unknown_key", ["--fusion.layrs", "--fusion.layers"]),
        (["--heads", "2"], "recipe.unknown_key", ["--heads", "--fusion.heads"]),
        (["--fusion.layers", "0"], "recipe.bad_value", ["fusion.layers", "0"]),
        (["--fusion.layers", "two"], "option.invalid", ["fusion.layers", "a whole number", "two"]),
        (["--fusion", "3"], "option.invalid", ["fusion", "3", "moodline train --help"]),
        (["--fusion", "null"], "option.invalid", ["fusion", "null"]),
        (["--fusion.training", "3"], "option.invalid", ["fusion.training", "3"]),
        (["--audio_utterance.channels", "4"], "option.invalid", ["audio_utterance.channels", "a list", "4"]),
        (["--text_utterance.num_unfrozen_layers", "x"], "option.invalid", ["num_unfrozen_layers", "null", "x"]),
        (["--protocol", "kfold05"], "corpus.unknown_protocol", ["kfold5", "'kfold05'"]),
        (["--context", "some"], "option.invalid", ["context", "labelled, all", "some"]),
        (["--fusion.heads", "5"], "recipe.bad_value", ["fusion.heads", "hidden", "5"]),
        (["--protocol", "cv7"], "corpus.unknown_protocol", ["session5, cv5, cv10", "'cv7'"]),
        (["--fold", "7"], "corpus.unknown_fold", ["'7'"]),
        (["--recipe", "smal"], "recipe.not_found", ["'smal'", "demo, iemocap, iemocap-10ms, recommended, small"]),
        (["--label_set", "iemocap5"], "recipe.bad_value", ["label_set", "iemocap4, iemocap6", "'iemocap5'"]),
        (["--label-set", "none.yaml"], "label.set_not_found", ["none.yaml", "iemocap4, iemocap6"]),
        (
            ["--text_utterance.pretrained", "wheel:no"],
            "recipe.unknown_encoder",
            ["wheel:all-minilm-l6-v2", "'wheel:no'"],
        ),
        (["--devises", "2"], "option.unknown", ["--devises", "--devices"]),
        (["--audio-embedings", "x"], "option.unknown", ["--audio-embedings", "--audio-embeddings"]),
        (["--text-embeddings", "none.parquet"], "embeddings.not_found", ["none.parquet"]),
    ],
)
def test_mistakes_in_training_get_a_sentence_before_anything_trains(
    place: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: str, values: list[str]
) -> None:
    error = refused(capsys, *train(place, "new", *options))
    assert error.code == code
    assert [value for value in values if value not in str(error)] == []
    assert not (place / "new" / "fold-5" / "model").exists()
    shutil.rmtree(place / "new", ignore_errors=True)


def test_a_recipes_unknown_key_is_named_with_the_nearest(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "odd.yaml"
    recipe.write_text("audio_context:\n  hiden: 50\n")
    error = refused(capsys, *train(place, "new", "--recipe", recipe))
    assert error.code == "recipe.unknown_key"
    assert all(value in str(error) for value in ("audio_context.hiden", "audio_context.hidden", str(recipe)))


def test_an_output_folder_of_another_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, *train(place, "run", "--seed", "7"))
    assert error.code == "run.other_run"
    assert "recipe.seed is 0, here it is 7" in str(error)
    assert refused(capsys, *train(place, "corpus")).code == "file.foreign_folder"


def test_a_run_in_training_is_not_entered_by_a_second(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import filelock

    with filelock.FileLock(place / "run" / ".lock"):
        assert refused(capsys, *train(place, "run")).code == "run.locked"


def test_a_model_of_a_newer_schema_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(place / "run/fold-5/model", model)
    content = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(content | {"schema": content["schema"] + 1}))
    command = ("predict", place / "corpus", "--model", model)
    assert refused(capsys, *command).code == "file.newer_schema"
    (model / "config.json").write_text(json.dumps(content))
    (model / "text_context.safetensors").write_bytes(b"broken")
    error = refused(capsys, *command)
    assert (error.code, "text_context.safetensors" in str(error)) == ("model.mismatched_weights", True)
    (model / "text_context.safetensors").unlink()
    error = refused(capsys, *command)
    assert (error.code, "text_context.safetensors" in str(error)) == ("model.missing_file", True)
    shutil.rmtree(model / "bert")
    error = refused(capsys, *command)
    assert (error.code, "bert/config.json" in str(error)) == ("model.missing_file", True)


def test_what_a_fold_lacks_is_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    content = json.loads((run / "run.json").read_text())
    content["recipe"]["text_context"]["dropout"] = 0.125
    (run / "run.json").write_text(json.dumps(content))
    error = refused(capsys, "evaluate", run)
    assert error.code == "run.no_trained_fold"
    assert "fold 5: text_context.dropout was 0.2 and is 0.125" in str(error)
    (run / "fold-5/model/config.json").unlink()
    (run / "fold-5/stages/text_context.json").unlink()
    error = refused(capsys, "evaluate", run)
    assert error.code == "run.no_trained_fold"
    assert re.search(r"fold 5: .*\(text context\)", str(error))


def test_audio_that_went_missing_is_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "tree", seed=3)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    shutil.rmtree(tmp_path / "tree" / "Session3")
    options = ("--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", tmp_path / "run")
    assert "Session3" in str(refused(capsys, "train", tmp_path / "corpus", *options))


def test_sound_that_is_no_number_stops_training_and_is_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``prepare`` leaves such turns out; this file changes afterwards, and the corpus is copied then."""
    write_tree(tmp_path / "tree", seed=4)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    turns = [turn for turn in read_corpus(tmp_path / "corpus").utterances if turn.id.startswith("Ses03")]
    turn = next(turn for turn in turns if turn.label == "sad")
    assert turn.audio is not None
    samples, rate = soundfile.read(turn.audio.path)
    samples[len(samples) // 2] = np.nan
    soundfile.write(turn.audio.path, samples, rate, subtype="FLOAT")
    shutil.copytree(tmp_path / "corpus", tmp_path / "copy", copy_function=shutil.copyfile)
    options = ("--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", tmp_path / "run")
    error = refused(capsys, "train", tmp_path / "copy", *options)
    assert all(value in str(error) for value in (turn.id, str(turn.audio.path), "nan"))
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
        error = refused(capsys, *prepare, *other)
        assert error.code == "corpus.out_occupied"
        assert all(value in str(error) for value in ("corpus-tree", " ".join(other)))
    moodline(*prepare)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_place_for_a_demo_corpus_is_looked_at_before_it_is_made(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    (tmp_path / "other-tree").mkdir()
    codes = {"file": "corpus.out_occupied", "corpus": "corpus.out_occupied", "other": "file.other_folder"}
    for name, code in codes.items():
        error = refused(capsys, "prepare", "demo", "-o", tmp_path / name, "--conversations", "1")
        assert error.code == code
        assert str(tmp_path / name) in str(error)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "corpus", "other-tree"}


def test_a_line_end_in_a_cell_of_csv_starts_no_row() -> None:
    speaker, words, scores = "Ann\nor Ben", "so\r\nlong", {"sad": 1.0}
    known: dict[str, Any] = {
        "id": "1",
        "start": None,
        "end": None,
        "label": "sad",
        "best": "sad",
        "by_stage": {"fusion": scores},
    }
    turn = UtterancePrediction(speaker=speaker, words=words, probabilities=scores, **known)
    lines = format_csv(iter([ConversationPrediction(conversation_id="talk", utterances=(turn,))]), ("sad",))
    (row,) = csv.DictReader(io.StringIO("".join(f"{line}\n" for line in lines), newline=""))
    assert (row["speaker"], row["words"]) == (speaker, words)


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


def test_the_api_trains_and_evaluates_as_the_commands_do(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys: dict[str, Any] = {"recipe": place / "tiny.yaml", "modalities": "text"}
    (model,) = package.train(place / "corpus", tmp_path / "run", protocol="session5", **keys)
    files = sorted(path.relative_to(model) for path in model.rglob("*.safetensors"))
    assert len(files) > 1
    assert [
        path for path in files if (model / path).read_bytes() != (place / "run/fold-5/model" / path).read_bytes()
    ] == []
    done: list[tuple[str, int, int]] = []
    outcome = package.evaluate(tmp_path / "run", progress=lambda *progress: done.append(progress))
    assert done[-1][1] == done[-1][2]
    capsys.readouterr()
    moodline("evaluate", place / "run", "--format", "json")
    printed = json.loads(capsys.readouterr().out)
    of_api = json.loads((tmp_path / "run/results.json").read_text())
    assert printed | {"created": None} == of_api | {"created": None}
    assert json.loads(json.dumps(outcome.results)) == of_api
    assert outcome.file == tmp_path / "run" / "report.html"


def test_the_api_scores_a_model_on_another_corpus_as_the_command_does(place: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", seed=5)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    model, corpus = place / "run/fold-5/model", tmp_path / "corpus"
    outcome = package.evaluate(model, corpus, tmp_path / "api", quote=False)
    moodline("evaluate", "--model", model, "--corpus", corpus, "-o", tmp_path / "command", "--no-words")
    of_command, of_api = (json.loads((tmp_path / one / "results.json").read_text()) for one in ("command", "api"))
    assert of_api | {"created": None} == of_command | {"created": None}
    words = [html.escape(turn.words) for turn in read_corpus(corpus).utterances if turn.words]
    assert not any(one in outcome.file.read_text() for one in words)
    with pytest.raises(package.MoodlineError) as error:
        package.evaluate(model, corpus)
    assert error.value.code == "option.missing"


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
    noting = replace(COMMANDS[name], run=lambda options, typed: received.append(typed.as_dict()))
    monkeypatch.setitem(COMMANDS, name, noting)
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
    error = refused(capsys, "predict", "talk.wav", "--audio-only", "--words-only")
    assert error.code == "option.contradiction"


def test_a_recipes_keys_are_options_with_dashes_too() -> None:
    arguments = ["train", "--label-set=meld4", "--audio-context.self-attention", "no", "--label_set", "x", "-o", "y-z"]
    spelt = ["train", "--label_set=meld4", "--audio_context.self_attention", "no", "--label_set", "x", "-o", "y-z"]
    assert accept_dashes(arguments) == spelt


def test_help_tells_the_defaults_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        moodline("predict", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "one speaker (default: mixed)" in shown
    assert "replace files that exist" in shown
    assert "null" not in shown
    assert "False" not in shown
    assert "()" not in shown


def test_training_reads_its_recipe_once(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text(f"base: {place}/tiny.yaml\nmodalities: text\nfusion: {{heads: 2}}\n")
    read: list[Path] = []

    def read_yaml(path: Path, what: str) -> Any:
        read.append(path)
        return io_of_moodline.read_yaml(path, what)

    monkeypatch.setattr("moodline.recipe.read_yaml", read_yaml)
    given = ("train", place / "corpus", "--recipe", tmp_path / "own.yaml", "--protocol", "none", "-o", tmp_path / "run")
    with pytest.raises(SystemExit):
        moodline(*given)
    shown = capsys.readouterr()
    assert "corpus" in shown.err or "protocol" in shown.err
    assert read == [tmp_path / "own.yaml", place / "tiny.yaml"]
    assert shown.out.count("fusion: no effect") == 1
