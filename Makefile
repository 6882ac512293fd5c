# From a bare machine with Python 3.11 or newer and make: `make demo`, `make test`.

PYTHON ?= python3
BIN := .venv/bin
LINKS := $(addprefix build/types/foldbook/, engine adapters examples benchmarks)

.PHONY: demo test lint types suite bounds fuzz bench bench-peers performance clean

demo: .venv/installed
	@$(BIN)/foldbook demo

test: lint types bounds suite

lint: .venv/installed-test
	$(BIN)/ruff check .

types: .venv/installed-test $(LINKS)
	$(BIN)/mypy

$(LINKS): build/types/foldbook/%:
	@mkdir -p $(@D)
	@ln -sfn ../../../$* $@

# An index that runs past its end stops here, where the compiled run would read garbage.
bounds: .venv/installed-test
	NUMBA_BOUNDSCHECK=1 FOLDBOOK_CACHE=build/bounds $(BIN)/pytest -q -m bounds

suite: .venv/installed-test
	$(BIN)/pytest -q -n 2 --dist worksteal

# Decoders attacked with inputs that coverage guides; FUZZ_SECONDS for each of them.
FUZZ_SECONDS ?= 60
fuzz: .venv/installed-test
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

# Full sizes, on a machine with nothing else to do; the page is made from what these write.
bench: .venv/installed-test
	$(BIN)/foldbook bench
	$(BIN)/python -m foldbook.benchmarks.scaling --to benchmarks/results/scaling.json

# Every peer in an environment of its own under build/peers; about 40 minutes without installing.
bench-peers: .venv/installed-test
	$(BIN)/python -m foldbook.benchmarks.peers --to benchmarks/results/peers.json
	$(BIN)/python -m foldbook.benchmarks.peers.fills --to benchmarks/results/fills.json

performance: .venv/installed-test
	$(BIN)/python -m foldbook.benchmarks.performance --to docs/performance.md

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "foldbook needs Python 3.11")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
