# Every target works from a fresh clone: the virtual environment .venv is made on first use.
#   make demo [SEED=0]   train, evaluate, generate and decode on the sample images
#   make test            run the tests (half an hour); `make test-fast`: the quick ones;
#                        `make test-all`: those of minutes too, such as kills under XLA
#   make lint            run ruff and mypy
#   make soak [MINUTES=10] [OPS=reference]  kill and resume small training runs at random
#   make bench           measure speed and memory, under 15 minutes (docs/performance.md)
#   make browser-decoder fetch what runs the decoder in browsers (serve --public-decoder)
#   make setup [GPU=1]   only make the virtual environment; GPU=1 adds the CUDA libraries
#   make clean           remove demo results and caches; `make distclean` .venv as well
#   make lock            record the newest versions of all packages in requirements.lock
# PYTHON=python3.12 chooses the interpreter of a new environment.

PYTHON ?= python3
SEED ?= 0
MINUTES ?= 10
OPS ?= reference

VENV_PYTHON := .venv/bin/python
# pip's progress bars on a terminal, silence in logs.
INSTALL = $(VENV_PYTHON) -m pip --disable-pip-version-check install $$([ -t 2 ] || echo --quiet)

.PHONY: setup demo test test-fast test-all lint soak bench browser-decoder lock clean distclean

setup: .venv/.installed$(if $(GPU),-gpu)

.venv/.installed: requirements.lock | .venv/bin/pip
	@echo "Installing the packages of requirements.lock (about 900 MB, once) ..."
	@$(INSTALL) -r requirements.lock
	@touch $@

.venv/.installed-gpu: .venv/.installed requirements/gpu.txt
	@echo "Installing TensorFlow's CUDA libraries (several GB, once) ..."
	@$(INSTALL) -c requirements.lock -r requirements/gpu.txt
	@touch $@

# pip is what comes last in a new environment: one without it was interrupted and is made again.
.venv/bin/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: no $(PYTHON) here; install Python 3.11 to 3.13 or name one: make PYTHON=python3.12 setup" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), TensorFlow 2.21 needs 3.11 to 3.13; name one: make PYTHON=python3.12 setup" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }

demo: setup
	@$(VENV_PYTHON) -m tools.demo --seed=$(SEED)

# A worker that crashed is not replaced: with whole files as units, pytest-xdist 3.8 then waits for ever
# (https://github.com/pytest-dev/pytest-xdist/issues/1378).
PYTEST = $(VENV_PYTHON) -m pytest -n 2 --dist loadfile --max-worker-restart=0

test: setup
	$(PYTEST) --durations=10 -m "not long"

test-all: setup
	$(PYTEST) --durations=10

# While one works: what a package's tests leave out is marked slow.
test-fast: setup
	$(PYTEST) -m "not slow"

lint: setup
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

# Kills and resumes small runs, and compares their end with one that was never stopped.
soak: setup
	@$(VENV_PYTHON) -m tools.soak --minutes=$(MINUTES) --ops=$(OPS) --seed=$(SEED)

# Prints one Markdown report; results/bench keeps it by benchmark, with the figures as JSON.
bench: setup
	@for script in benchmarks/bench_*.py; do \
	  echo "$$script ..." >&2; $(VENV_PYTHON) "$$script" --out=results/bench || exit 1; \
	done

# onnxruntime-web, from the npm registry; 14 MB beside the page.
browser-decoder: setup
	@$(VENV_PYTHON) -m tools.browser_runtime

# Resolves the lower bounds anew in an empty environment and records what came out.
lock:
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder" requirements.lock.tmp' EXIT; \
	$(PYTHON) -m venv "$$folder"; \
	"$$folder/bin/python" -m pip --disable-pip-version-check install --upgrade \
	  -r requirements.txt -r requirements/dev.txt setuptools wheel; \
	{ echo "# Exact versions that \`make setup\` installs, for commands, tests and lint. \`make lock\` makes"; \
	  echo "# this file from requirements.txt and requirements/dev.txt; do not edit it by hand."; \
	  "$$folder/bin/python" -m pip freeze --all --exclude pip; } > requirements.lock.tmp; \
	mv requirements.lock.tmp requirements.lock; \
	echo "wrote requirements.lock"

# Only what can be made again: training results stay.
clean:
	rm -rf demo soak build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
