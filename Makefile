# Installs what is needed into .venv by itself; `make` lists the targets.
# PYTHON=/path/to/python3.12 names the interpreter that .venv is made with.
PYTHON ?= python3.13 python3.12 python3.11 python3
BAZEL ?= $(firstword $(wildcard ../shared/tools/bazel-here) bazel)

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
RUNTIME := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
BENCHMARKS := $(VENV)/.installed-benchmarks
STAGES := sampling kmeans jpeg_to_batch center_crop train_step extraction growth start_up epoch \
  clustering_memory pca gallery serving
# Tests of what needs no network: arrays, flags, tools.
FAST := tests/clustering tests/config tests/tools
# Keras 3.15 starts at Python 3.11, TensorFlow 2.21 ends at 3.13; Debian has venv in a package apart.
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help quickstart test test-fast test-slow faults bench bench-quick lint format docs \
  check-flagfiles bazel lock clean
.DELETE_ON_ERROR:

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

quickstart: $(RUNTIME)  ## Train on the bundled digits for a minute or two and evaluate
	$(PY) train.py --flagfile=configs/quickstart.cfg
	$(PY) evaluate.py --run_dir=runs/quickstart

test: $(DEVELOPMENT)  ## Run the tests; ARGS="-k kmeans" goes to pytest
	$(PY) -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

test-fast: $(DEVELOPMENT)  ## Run those of arrays, flags and tools: while you work
	$(PY) -m pytest --numprocesses=2 --dist=loadfile $(FAST) $(ARGS)

test-slow: $(DEVELOPMENT)  ## Run those that `make test` leaves out
	$(PY) -m pytest -m slow --numprocesses=2 --dist=loadfile $(ARGS)

faults: $(DEVELOPMENT)  ## Kill and disturb runs in every way; ARGS="--tries=0.1" for fewer tries
	PYTHONPATH=.:tests $(PY) -m faults $(ARGS)

# Data sets to measure on, see docs/data_sets.md.
bench bench-quick test test-slow: export DC_KERAS_DATA_SETS ?= $(wildcard ../shared/data)

bench: $(BENCHMARKS)  ## Compare the stages with others; ARGS=--write puts rows into docs/data
	for name in $(STAGES); do $(PY) -m benchmarks.$$name $(ARGS) || exit 1; done

bench-quick: $(BENCHMARKS)  ## The same at small sizes, two at a time: shows that it works
	printf '%s\n' $(STAGES) | xargs -P 2 -I NAME $(PY) -m benchmarks.NAME --quick --turns=1

lint: $(DEVELOPMENT)  ## Check style, types, rules of imports, BUILD files and tables of docs/
	$(PY) -m ruff check --no-cache .
	$(PY) -m ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache --no-logo
	$(PY) tools/write_build.py --check
	$(PY) tools/write_tables.py --check

format: $(DEVELOPMENT)  ## Mend style, BUILD files and tables of docs/
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(PY) tools/write_build.py
	$(PY) tools/write_tables.py

docs: $(DEVELOPMENT)  ## Make pages of the API from the docstrings: build/api/index.html
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/pdoc --docformat=google --output-directory=build/api dc_keras

check-flagfiles: $(RUNTIME)  ## Check the flags of every file in configs/
	@for flagfile in configs/*.cfg; do \
	  printf '%s: ' "$$flagfile"; \
	  case $$flagfile in configs/evaluate_*) program=evaluate.py;; *) program=train.py;; esac; \
	  $(PY) $$program --flagfile="$$flagfile" --only_check_flags || exit 1; \
	done

bazel:  ## Build and test everything with Bazel
	$(BAZEL) test //...

lock: | $(RUNTIME)  ## Renew requirements_lock.txt (with Python 3.11, as in MODULE.bazel)
	@$(PY) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Make .venv with Python 3.11 first: make clean lock PYTHON=python3.11")'
	$(PY) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/lock/bin/uv pip compile --quiet --upgrade --generate-hashes --python-version=3.11 \
	  --no-emit-index-url --annotation-style=line --custom-compile-command="make lock" \
	  --output-file=requirements_lock.txt requirements.txt requirements-dev.txt
	rm -r $(VENV)/lock

clean:  ## Remove .venv and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -r {} +

# The stamps are newer than the requirements files as long as there is nothing to install. An
# environment without a working pip was cut off while it was made, and is made again.
$(RUNTIME): requirements.txt requirements-common.txt pyproject.toml
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
	  for python in $(PYTHON); do \
	    if $$python -c '$(SUITABLE)' >/dev/null 2>&1; then \
	      echo "Making $(VENV) with $$($$python --version)"; \
	      exec $$python -m venv --clear $(VENV); \
	    fi; \
	  done; \
	  echo "No suitable Python. Tried: $(PYTHON). Needed: Python 3.11, 3.12 or 3.13 with its venv module."; \
	  echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name one: make PYTHON=/path/to/python3.11"; \
	  exit 1; } >&2
	@echo "Installing TensorFlow, Keras, Faiss and scikit-learn into $(VENV): downloads about 700 MB, takes some minutes"
	@$(PIP_INSTALL) -r requirements.txt
	@$(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	@echo "Installing pytest, Hypothesis, Pillow, Ruff, mypy, import-linter and pdoc into $(VENV)"
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

$(BENCHMARKS): requirements-torch.txt requirements-browser.txt requirements-serving.txt \
  $(DEVELOPMENT)
	@echo "Installing PyTorch and others for the comparisons"
	@$(PIP_INSTALL) -r requirements-torch.txt -r requirements-browser.txt \
	  -r requirements-serving.txt
	@touch $@
