# `make TARGET` builds any target of the workflow in an environment of its own; `make test` tests.
#   make results/mbpp_verified.jsonl
#   make results/mbpp_verified.jsonl SNAKEMAKE_FLAGS="--configfile my.yaml -n"

PYTHON ?= python3
SNAKEMAKE_FLAGS ?=
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"
SNAKEMAKE = $(IN_VENV) snakemake $(SNAKEMAKE_FLAGS)

.PHONY: help test check FORCE

help:
	@echo "make results/mbpp_verified.jsonl   ten seeds to verified samples, all set-up included"
	@echo "make test                          run all tests, all set-up included"
	@echo "make check                         formatting and lint, as continuous integration does"

# Snakemake, not make, knows whether a result is up to date.
results/%: .venv/ready FORCE
	$(SNAKEMAKE) $@

# Anything else that is no target of this file is one of the workflow.
.DEFAULT:
	@$(MAKE) --no-print-directory .venv/ready
	$(SNAKEMAKE) $@

test: .venv/ready-dev
	$(IN_VENV) pytest

check: .venv/ready-dev
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11: name a newer one, make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements.txt
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	.venv/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements-dev.txt
	@touch $@

# Files that make would otherwise look for by the rule above.
Makefile requirements.txt requirements-dev.txt: ;
FORCE: ;
