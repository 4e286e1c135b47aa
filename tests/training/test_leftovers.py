"""Training removes what a killed training left, and nothing that another command is writing."""

from pathlib import Path

from moodline.config import Recipe
from moodline.conversation import IEMOCAP4
from moodline.training.run import Run

OF_TRAINING = [
    ".run.json.12.part",
    "fold-5/stages/.fusion.pt.12.part",
    "fold-5/model/.fusion.safetensors.12.part",
    "fold-5/embeddings/.audio_utterance.parquet.12.part",
]
OF_OTHERS = [
    ".results.json.12.part",
    ".predictions.parquet.12.part",
    ".report.html.12.part",
    ".robustness.parquet.12.part",
    "robustness/fold-5/.words.parquet.12.part",
]
WHOLE = ["run.json", "fold-5/stages/fusion.json"]


def test_temporary_files_of_training_alone_are_removed(tmp_path: Path) -> None:
    for name in (*OF_TRAINING, *OF_OTHERS, *WHOLE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run = Run(
        folder=tmp_path,
        recipe_name="",
        recipe=Recipe(),
        protocol="session5",
        corpus_folder=tmp_path,
        corpus_hash="",
        label_set=IEMOCAP4,
    )
    run.remove_leftovers()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*OF_OTHERS, *WHOLE}
