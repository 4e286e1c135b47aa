"""The paper's tables from anyone's copy of the corpus, baselines, and robustness tests."""
