# make demo: see it work. make test: everything that is tested. make check: that, and lint.
# EXTRA=gpu installs vLLM for GPUs; VENV and PYTHON choose where and with what.
PYTHON ?= python3
VENV   ?= .venv
EXTRA  ?= cpu
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

# uv looks where pip was told to look; PyTorch's own CPU index is for everybody else.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
UV_FLAGS := $(if $(UV_FIND_LINKS),--no-sources-package torch)

.PHONY: demo test chaos check format lint types imports audit install clean

demo: install
	@$(BIN)/tagstream demo

test: install
	@$(PYTEST) tests

# Faults by schedule against three brokers; CHAOS="--seed 7 --minutes 30" chooses.
chaos: install
	@$(BIN)/python -m tests.chaos $(CHAOS)

check: install lint types imports audit test

format: install
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: install
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: install
	@$(BIN)/mypy

imports: install
	@$(BIN)/lint-imports

# Known weaknesses of what is installed; skipped, and said so, where their list is out of reach.
audit: install
	@said=$$($(BIN)/pip-audit --skip-editable --progress-spinner=off --timeout=10 2>&1); code=$$?; \
	case "$$said" in \
	  *"Max retries"*|*ConnectionError*|*ServiceError*|*"timed out"*) echo "audit: the list of weaknesses is out of reach, skipped";; \
	  *) echo "$$said"; exit $$code;; \
	esac

install: $(VENV)/installed-$(EXTRA)

$(VENV)/installed-$(EXTRA): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "tagstream: $(PYTHON) is missing: install Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tagstream: $$($(PYTHON) -V) is too old: name Python 3.11 or later with PYTHON=..." >&2; exit 1; }
	@command -v g++ >/dev/null || { echo "tagstream: g++ is missing: install a C++ compiler (Debian: apt-get install g++); vLLM compiles the model with it" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "tagstream: $(PYTHON) cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || { echo "tagstream: pip cannot reach a package index: check the network or PIP_INDEX_URL" >&2; exit 1; }
	@echo "installing tagstream and vLLM ($(EXTRA)) into $(VENV)"
	@$(BIN)/uv pip install $(UV_FLAGS) --python $(BIN)/python -e '.[$(EXTRA),demo,train,dev]' || { echo "tagstream: the packages could not be installed; what uv says above tells why" >&2; exit 1; }
	@touch $@

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
