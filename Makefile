# Every target sets itself up; nothing else needs to be installed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Modules are compiled once, not by each of the many processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: study lint check test test-cluster sanitize docs clean
.DELETE_ON_ERROR:

study: $(STAMP)
	$(BIN)/widthwise run examples/mlp_ntk.toml --output studies/mlp_ntk

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The quick loop: what takes a fifth of a second or more is marked slow.
check: lint
	$(BIN)/pytest -n 2 -m "not slow and not cluster and not site"

# Everything, as continuous integration runs it.
test: lint
	$(BIN)/pytest -n 2

# Slurm, Ray, an object store and trackers on this machine, which `make test` leaves out. A file at
# a time: its tests share a cluster, and much of their time is waiting.
test-cluster: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cluster-tests]'
	$(BIN)/pytest -n 2 --dist loadfile -m cluster

# The compiled engine's tests under AddressSanitizer and UndefinedBehaviorSanitizer; some minutes.
SANITIZED = $(shell cc -print-file-name=libasan.so) $(shell cc -print-file-name=libubsan.so)
sanitize: $(STAMP)
	CFLAGS="-fsanitize=address,undefined -g -O1" $(BIN)/python -W ignore -m widthwise.engines.compiled.build
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 LD_PRELOAD="$(SANITIZED)" \
	  $(BIN)/pytest -p no:cacheprovider tests/engines/test_compiled.py; \
	  result=$$?; $(BIN)/python -W ignore -m widthwise.engines.compiled.build; exit $$result

# The documentation site, in build/site; a warning is an error. Then what `make test` leaves out:
# whether every public name is in it, and nothing is loaded from elsewhere.
docs: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(BIN)/pytest -q -m site tests/docs/test_site.py

clean:
	rm -rf $(VENV) studies

$(STAMP): pyproject.toml constraints.txt hatch_build.py $(wildcard src/widthwise/engines/compiled/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Widthwise needs Python 3.11 or newer; run make PYTHON=python3.12, say"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip --constraint constraints.txt
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@
