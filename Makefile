# The lab's commands. `make` lists them; each makes the environment in .venv first, and repeat calls find it ready.
VENV ?= .venv
PORT ?= 5006
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := $(VENV)/bin
# A browser is opened only where there is a screen and no CI.
SHOW := $(if $(CI),,$(if $(DISPLAY)$(WAYLAND_DISPLAY)$(filter Darwin,$(shell uname)),--show))
EXTRAS := test,tensorboard,grib,radar
PYTEST_ARGS ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help explore test lab notebooks bundled lint format clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

explore: $(VENV)/.installed ## open the ensemble explorer (PORT=5006)
	$(BIN)/python -m apps explore --port $(PORT) $(SHOW)

test: lint ## check the style, then run every test, browser ones included (PYTEST_ARGS=...)
	CHROMIUM="$$($(BIN)/python tests/chromium.py)" || exit 1; export CHROMIUM; \
		OMP_NUM_THREADS=$(or $(OMP_NUM_THREADS),1) $(BIN)/python -m pytest $(PYTEST_ARGS)

lab: $(VENV)/.installed ## open JupyterLab on the notebooks
	$(BIN)/python -m jupyterlab notebooks

notebooks: $(VENV)/.installed-test ## execute all notebooks in their full setting, into build/notebooks
	$(BIN)/python tests/run_notebooks.py --output build/notebooks

bundled: $(VENV)/.installed ## train, pack and sample the run that ships with the lab (ten minutes)
	$(BIN)/python benchmarks/make_bundled.py

lint: $(VENV)/.installed-test ## check the style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-test ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and everything built
	rm -rf $(VENV) build dist labkit.egg-info .pytest_cache .ruff_cache

# One stamp a set of packages, inside the environment, so that a removed environment is made anew.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(call install,.)

$(VENV)/.installed-test: pyproject.toml constraints.txt
	$(call install,.[$(EXTRAS)])
	@touch $(VENV)/.installed

define install
@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "make: $(PYTHON) is not a Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
@echo "installing into $(VENV); the first time takes some minutes" >&2
"$(PYTHON)" -m venv $(VENV)
$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$(1)"
@touch $@
endef
