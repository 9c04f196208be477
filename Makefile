# Everything a person does with the project. The environment lives in .venv; stamps in it keep reruns short.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup app reference gpu lock quick test check lint types imports bench cohort docs pictures clean
help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.runtime  ## Make the environment that runs the app (no training stack)

app: $(VENV)/.runtime  ## Verify the shipped models and open the app
	$(BIN)/python -m core models verify
	$(BIN)/python -m core app

reference: $(VENV)/.reference  ## Add pyradiomics, the reference engine (needs a C compiler)

gpu: $(VENV)/.runtime  ## Let models run on an NVIDIA GPU (Linux and Windows)
	$(BIN)/python -m pip uninstall --yes onnxruntime
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-gpu.txt

lock: requirements.txt  ## Write requirements.lock: the pins and everything below them, on every system
	$(BIN)/python -m pip install --disable-pip-version-check uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --quiet --output-file requirements.lock $<

# A process a core, each with one thread of its own, or the libraries of eight processes would fight for two cores.
# Whoever has nothing left to do takes tests from another's end, so that what a file's tests share is mostly made once.
# Processes that tests start find compiled modules.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test: $(VENV)/.tests  ## Run the whole suite
	$(PYTEST)

QUICK := domain support image features populations quality charts
quick: $(VENV)/.tests  ## Answer in 90 seconds: lint, import contracts, and the engine's tests that need no real images
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports
	$(PYTEST) -q -m "not long and not data" $(QUICK:%=tests/core/%)

check: lint types imports test  ## What the forge runs: lint, format, types, import contracts, the whole suite

lint: $(VENV)/.tests  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tests  ## Check types
	$(BIN)/mypy

imports: $(VENV)/.tests  ## Check the import contracts
	$(BIN)/lint-imports

bench: $(VENV)/.bench  ## Measure speed and write benchmarks/
	$(BIN)/python -m benchmarks

cohort: $(VENV)/.runtime  ## Build the reference cohort from the images in LEUKOSCOPE_DATA
	$(BIN)/python -m core cohort build --jobs 2

docs: $(VENV)/.docs  ## Render docs/ into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

pictures: $(VENV)/.tests  ## Take the pictures of the pages in docs/images (needs Chromium)
	$(BIN)/python -m tools.pictures

clean:  ## Remove the environment and the rendered docs
	rm -rf $(VENV) site

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
		{ echo "Python 3.11 to 3.14 is needed, but $(PYTHON) is '$$($(PYTHON) --version 2>&1)';" \
			"try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make environments; install its venv module" \
			"(Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r $< -c requirements.lock
	@command -v $(CC) >/dev/null || \
		echo "no C compiler: pyradiomics is left out, so --feature-engine reference is missing; the app needs neither" >&2
	@touch $@

$(VENV)/.reference: requirements-reference.txt | $(VENV)/.runtime
	@command -v $(CC) >/dev/null || \
		{ echo "a C compiler is needed to build pyradiomics" \
			"(Debian: apt-get install build-essential; macOS: xcode-select --install)" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@

$(VENV)/.docs: docs/requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@

$(VENV)/.bench: benchmarks/requirements.txt | $(VENV)/.tests
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@

# Names its includes, so that a change in any installs again.
$(VENV)/.tests: tests/requirements.txt training/requirements.txt requirements-cluster.txt requirements.txt \
		| $(VENV)/.reference
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@
