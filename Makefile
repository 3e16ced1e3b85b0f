# `make TARGET` builds any target of the workflow in an environment of its own; `make test` tests.
#   make results/mbpp_verified.jsonl
#   make results/mbpp_verified.jsonl SNAKEMAKE_FLAGS="--configfile my.yaml"

PYTHON ?= python3
SNAKEMAKE_FLAGS ?=
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"
SNAKEMAKE = $(IN_VENV) snakemake

.PHONY: help doctor test test-conda check funnel report top-up estimate journal FORCE

help:
	@echo "make results/mbpp_verified.jsonl   ten seeds to verified samples, all set-up included"
	@echo "make doctor                        what this machine and config lack, without starting anything"
	@echo "make top-up TASK=mbpp              sample more until sampling.target_rows are there"
	@echo "make estimate TASK=mbpp            what the missing replies will cost, without asking"
	@echo "make journal                       what replies are on disk and what they have cost"
	@echo "make funnel                        what is left after each stage, of all tasks"
	@echo "make report                        one HTML file with all results so far (TASK=mbpp: of one)"
	@echo "make test                          run all tests, all set-up included"
	@echo "make test-conda                    deploy the conda environments, and run the toy task in them"
	@echo "make check                         formatting and lint, as continuous integration does"

# The flags follow the target: an option such as --configfile takes all words up to the next option.
# Snakemake, not make, knows whether a result is up to date.
results/%: .venv/ready FORCE
	$(SNAKEMAKE) $@ $(SNAKEMAKE_FLAGS)

# Anything else that is no target of this file is one of the workflow.
.DEFAULT:
	@$(MAKE) --no-print-directory .venv/ready
	$(SNAKEMAKE) $@ $(SNAKEMAKE_FLAGS)

# In the environment where there is one; makes none.
doctor: DOCTOR_PYTHON = $(or $(wildcard .venv/bin/python),$(PYTHON))
doctor:
	@$(DOCTOR_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "missing  python:    $(DOCTOR_PYTHON) is older than 3.11 (make PYTHON=python3.12 ...)"; exit 1; }
	@$(DOCTOR_PYTHON) -m scripts.doctor $(TASK:%=--task %) $(SNAKEMAKE_FLAGS)

TOP_UP_ROUNDS ?= 5

top-up: .venv/ready
	@test -n "$(TASK)" || { echo "error: name the task, make top-up TASK=mbpp"; exit 1; }
	@for round in $$(seq $(TOP_UP_ROUNDS)); do \
		$(SNAKEMAKE) results/$(TASK)/top_up.json $(SNAKEMAKE_FLAGS) || exit 1; \
		grep -q '"missing_rows": 0' results/$(TASK)/top_up.json && exit 0; \
	done; \
	echo "error: rows are missing after $(TOP_UP_ROUNDS) rounds: run it again, or look at make funnel"; exit 1

estimate: .venv/ready
	@test -n "$(TASK)" || { echo "error: name the task, make estimate TASK=mbpp"; exit 1; }
	$(SNAKEMAKE) results/$(TASK)/label_estimate.json --forcerun estimate_labels $(SNAKEMAKE_FLAGS)

# make journal JOURNAL_FLAGS=--compact
JOURNAL_FLAGS ?=

journal: .venv/ready
	@$(IN_VENV) python -m scripts.print_journal $(JOURNAL_FLAGS)

funnel: .venv/ready
	@$(IN_VENV) python -m scripts.print_funnel $(wildcard results/*/funnel.json)

# What the report shows: all tasks with verified rows, or those of TASK="mbpp gsm8k".
REPORTED = $(patsubst results/%/funnel.json,results/%/report/overview.html,$(wildcard \
	$(if $(TASK),$(TASK:%=results/%/funnel.json),results/*/funnel.json)))
# The only rules that run: results are shown as they are, even where a newer step would make others.
REPORT_RULES = plot_funnel plot_scores plot_study list_examples sum_up_cost write_overview \
	measure_instructions

report: .venv/ready
	@test -n "$(REPORTED)" || { echo "error: there are no results$(if $(TASK), of $(TASK)) yet: make results/$(or $(firstword $(TASK)),mbpp)_verified.jsonl first"; exit 1; }
	$(SNAKEMAKE) $(REPORTED) --allowed-rules $(REPORT_RULES) --forcerun sum_up_cost $(SNAKEMAKE_FLAGS)
	$(SNAKEMAKE) $(REPORTED) --report results/report.html $(SNAKEMAKE_FLAGS)

results/report.html: report ;

test: .venv/ready-dev
	@# Three, also on two cores: many tests wait, for a cluster, a server or the end of a process.
	$(IN_VENV) pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		--ignore tests/sandbox --ignore tests/conda
	@# By itself: it counts the processes of a user.
	$(IN_VENV) pytest tests/sandbox

# Apart: it takes minutes, of pip.
test-conda: .venv/ready-dev
	$(IN_VENV) pytest tests/conda

check: .venv/ready-dev
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint

# Only what the locks pin and hash (envs/lock.py). What is installed and fits, a CPU build of torch for
# one, stays; where pip is shown a CPU build, it is taken.
INSTALL = .venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes
# Whether the installed torch is the CUDA build, which asks for gigabytes more.
IS_CUDA = import sys, importlib.metadata as m; sys.exit("nvidia-" not in str(m.requires("torch")))

.venv/ready: requirements.txt requirements-cpu.txt requirements-cuda.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11: name a newer one, make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@.venv/bin/python -c '$(IS_CUDA)' 2>/dev/null \
		|| $(INSTALL) --requirement requirements-cpu.txt 2>/dev/null \
		|| echo "torch: no CPU build is offered, so the CUDA build"
	$(INSTALL) --requirement requirements.txt
	if .venv/bin/python -c '$(IS_CUDA)'; then $(INSTALL) --requirement requirements-cuda.txt; fi
	.venv/bin/python -m pip check
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	$(INSTALL) --requirement requirements-dev.txt
	.venv/bin/python -m pip check
	@touch $@

# Files that make would otherwise look for by the rule above.
Makefile requirements.txt requirements-cpu.txt requirements-cuda.txt requirements-dev.txt: ;
FORCE: ;
