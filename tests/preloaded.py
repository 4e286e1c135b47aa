"""What every command needs that a process of ``tests/processes.py`` runs: imported and built once, before the forks."""

import gc
import os

import torch.utils.tensorboard  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401

import moodline.api
import moodline.evaluation.evaluate
import moodline.training.train  # noqa: F401
from moodline.cli.main import build_parser
from moodline.recipe import build_recipe_parser

os.fsync = lambda fd: None  # nothing waits for the disk
build_parser()
build_recipe_parser()
gc.freeze()
