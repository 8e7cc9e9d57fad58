# opsboard: `make run` shows it, `make test` proves it. `make help` lists the rest.

# The first Python on PATH that is new enough; name another with `make PYTHON=...`.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py
PYTEST_WORKERS ?= 2

# One stamp per lock file: nothing is installed again until the lock changes.
BASE := $(VENV)/base.stamp
TEST := $(VENV)/test.stamp

.DEFAULT_GOAL := help
.PHONY: help run install test lint bench soak lock clean chromium

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: $(BASE) ## Start everything on http://127.0.0.1:$(PORT); UP="--live" adds real Tryton systems
	@exec $(MANAGE) up --port $(PORT) $(UP)

install: $(BASE) ## Make the environment only

test: $(TEST) chromium ## Install what tests need, run all of them
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(ARGS)

lint: $(TEST) ## Style, types, templates, import contracts, migrations, deployment check, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find templates -name '*.html' -print0 | xargs -0 -r $(BIN)/djade --check
	$(BIN)/lint-imports
	$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run  # there is no database here
	OPSBOARD_SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(60))') \
	    OPSBOARD_HOSTS=opsboard.example OPSBOARD_HTTPS=1 OPSBOARD_METRICS_TOKEN=lint \
	    $(MANAGE) check --deploy --fail-level WARNING
	@.ci/audit $(BIN)

bench: $(BASE) ## Measure; NAME=... for one figure
	$(MANAGE) bench $(NAME)

soak: $(TEST) ## The long proof that nothing is lost or billed twice while processes are killed
	$(BIN)/python -m pytest -m soak -n 0 $(ARGS)

lock: $(TEST) ## Write requirements/*.lock anew from pyproject.toml
	.ci/lock $(BIN)

clean: ## Remove the environment and caches (data stay; see `manage.py reset`)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

chromium: $(TEST)
	@.ci/chromium

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "opsboard needs Python 3.11 or newer on PATH, or: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(BASE): requirements/base.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.lock
	@touch $@

$(TEST): requirements/test.lock $(BASE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.lock
	@touch $@
