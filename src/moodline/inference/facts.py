"""What is to be known of the model that labels a recording, before anything that it says."""

from moodline.checkpoint import TrainedModel
from moodline.inference.timeline import ModelFacts

SYNTHETIC = {"demo": "this model was trained on synthetic voices: what it says of people means nothing"}
"""By the reader of the corpus that a model was trained on."""


def facts_of(model: TrainedModel, name: str) -> ModelFacts:
    """Its name, what it was trained on, and what stands beside all that it says."""
    provenance = model.provenance
    synthetic = [SYNTHETIC[provenance.corpus_reader]] if provenance.corpus_reader in SYNTHETIC else []
    return ModelFacts(
        name=name,
        trained_on=f"{provenance.corpus_reader} ({len(provenance.trained_on)} conversations)",
        licence=provenance.licence_told,
        notes=(*synthetic, *provenance.notes),
    )
