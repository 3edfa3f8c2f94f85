# Two commands: `make demo` trains XOR in ngspice, `make test` runs the tests. Each installs what is
# missing by itself, is safe to repeat, and is fast the second time. Each of the two processes of the
# tests works through neighbors (worksteal), which share what they have compiled.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# ldconfig is outside an ordinary user's path on Debian.
export PATH := $(PATH):/usr/sbin:/sbin
# The tests start hundreds of processes: Python compiles what they import once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast check site system clean

demo: $(VENV)/.installed
	$(BIN)/eqprop-spice train experiments/xor.toml

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist worksteal

test-fast: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The documentation as a site in site/: notebooks are executed, warnings are errors.
site: $(VENV)/.installed-site
	$(BIN)/mkdocs build --strict

$(VENV)/.installed-site: pyproject.toml $(VENV)/.installed | system
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[schematic,site]"
	touch $@

$(VENV)/.installed: pyproject.toml | system
	@echo "installing eqprop_spice and what it needs into $(VENV); the first time takes a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed | system
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

# Looks first and asks for administrator rights only where something is missing.
system:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "eqprop_spice needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@missing=""; \
	ldconfig -p | grep -q 'libngspice\.so' || missing="$$missing libngspice0"; \
	command -v ngspice >/dev/null || missing="$$missing ngspice"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
	  command -v apt-get >/dev/null || \
	    { echo "Please install:$$missing (no apt-get here to do it)"; exit 1; }; \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "installing$$missing"; \
	  $$sudo apt-get update -qq && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
