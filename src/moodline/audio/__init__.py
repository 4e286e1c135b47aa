"""From audio files to utterance embeddings."""
