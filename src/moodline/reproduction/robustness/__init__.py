"""How a run's scores fall as what it reads and hears gets worse: the curves of ``moodline robustness``."""
