# make demo: build an atlas and ask it. make test: the suite. Both make .venv and install what they need,
# in the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FAST := -m pytest -n 2 --dist loadfile -m "not slow and not browser"
# The lowest torch that pyproject.toml allows is a large CUDA download on Linux; test-lowest accepts another.
TORCH ?= $(shell sed -n 's/.*"torch>=\([0-9.]*\).*/\1/p' pyproject.toml)
.DEFAULT_GOAL := help
.PHONY: help demo test test-browser test-slow test-newest test-lowest lint lock bench screenshots clean

help:
	@echo "make demo   install into $(VENV), build the atlas at res 3 and 4, and ask it what is like Nairobi"
	@echo "make test   install into $(VENV) and run the tests"
	@echo "make test-browser  the tests of the map, in chromium"
	@echo "make test-newest  the tests with the newest versions that pyproject.toml allows, in $(VENV)-newest"
	@echo "make test-lowest  the tests with the lowest versions that pyproject.toml allows, in $(VENV)-lowest"
	@echo "make lint   ruff, mypy --strict, and the layers of the packages"
	@echo "make lock   update constraints.txt after a change of pyproject.toml; UPGRADE=--upgrade takes the newest of everything"
	@echo "make screenshots  the pictures of the map in docs/images"
	@echo "make bench  the benchmarks of benchmarks/RESULTS.md"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "This needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.cpu: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,map]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.cpu

# One version of each package for every Python and platform. uv keeps the versions in the file unless UPGRADE names some:
# UPGRADE=--upgrade or UPGRADE='--upgrade-package duckdb'. CUDA's libraries are left to torch, which pins them itself.
lock: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --extra dev $(UPGRADE) \
	  --annotation-style line --custom-compile-command "make lock" --output-file constraints.txt pyproject.toml
	grep -Ev '^(cuda-|nvidia-|triton=)' constraints.txt > constraints.txt.new
	mv constraints.txt.new constraints.txt

demo: $(VENV)/.cpu
	@test -f atlas/manifest.json || $(BIN)/satclip-index build --atlas atlas --res 3 --res 4
	$(BIN)/satclip-index like Nairobi --atlas atlas --format table
	@echo "Now click on the map: $(BIN)/satclip-index serve --open"

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python $(FAST)

# These two install at every run, since the newest versions change. The lowest have wheels for Python 3.11. There, libraries' own
# warnings (deprecations, what Ray leaves open) are no errors, and the documentation, printed with the locked versions, is left out.
test-newest:
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[dev]'
	OMP_NUM_THREADS=1 $(VENV)-newest/bin/python $(FAST)

test-lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet uv
	echo 'torch==$(TORCH)' | $(VENV)-lowest/bin/uv pip compile --quiet --upgrade --resolution lowest-direct --extra dev \
	  --python $(VENV)-lowest/bin/python --output-file $(VENV)-lowest/constraints.txt pyproject.toml -
	$(VENV)-lowest/bin/python -m pip install --quiet --constraint $(VENV)-lowest/constraints.txt --editable '.[dev]'
	OMP_NUM_THREADS=1 $(VENV)-lowest/bin/python $(FAST) -k "not console_blocks" \
	  -W default::DeprecationWarning -W default::FutureWarning -W ignore::ResourceWarning

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
	rm -rf $(VENV) $(VENV)-newest $(VENV)-lowest atlas
