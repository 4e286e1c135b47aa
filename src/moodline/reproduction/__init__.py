"""The paper's tables from anyone's copy of the corpus: systems, runs, ledger, comparisons."""
