# make demo: build an atlas and ask it. make test: the suite. Both make .venv and install what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test test-browser test-slow lint bench screenshots clean

help:
	@echo "make demo   install into $(VENV), build the atlas at res 3 and 4, and ask it what is like Nairobi"
	@echo "make test   install into $(VENV) and run the tests"
	@echo "make test-browser  the tests of the map, in chromium"
	@echo "make lint   ruff, mypy --strict, and the layers of the packages"
	@echo "make screenshots  the pictures of the map in docs/images"
	@echo "make bench  the benchmarks of benchmarks/RESULTS.md"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "This needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The torch bound of pyproject.toml decides which build of torch pip takes.
$(VENV)/.cpu: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[cpu,map]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.cpu

demo: $(VENV)/.cpu
	@test -f atlas/manifest.json || $(BIN)/satclip-index build --atlas atlas --res 3 --res 4
	$(BIN)/satclip-index like Nairobi --atlas atlas --format table
	@echo "Now click on the map: $(BIN)/satclip-index serve --open"

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not browser"

# They drive chromium (Debian: apt-get install chromium).
test-browser: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "browser and not slow" tests/browser

test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.dev
	@test -f atlas/manifest.json || $(BIN)/satclip-index build --atlas atlas --res 3 --res 4
	$(BIN)/python benchmarks/bench_encode.py
	$(BIN)/python benchmarks/bench_build.py
	$(BIN)/python benchmarks/bench_like.py
	$(BIN)/python benchmarks/bench_search.py
	$(BIN)/python benchmarks/bench_sql.py
	$(BIN)/python benchmarks/bench_serve.py
	$(BIN)/python benchmarks/bench_lance.py
	$(BIN)/python benchmarks/bench_scale.py atlas --shard 5 --shard 6 --shard 7
	$(BIN)/python benchmarks/bench_probes.py
	$(BIN)/python benchmarks/bench_train.py

screenshots: $(VENV)/.dev
	@test -f atlas/manifest.json || $(BIN)/satclip-index build --atlas atlas --res 3 --res 4
	SATCLIP_SCREENSHOTS=docs/images SATCLIP_SCREENSHOTS_ATLAS=atlas $(BIN)/python -m pytest tests/browser/test_screenshots.py

clean:
	rm -rf $(VENV) atlas
