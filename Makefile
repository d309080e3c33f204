# Every step of the project; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -Eeuo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON_FILES := llm_client mlflow_tracking vllm_server screenshots benchmarks tests
# Anything for the experiment: make run ARGS='--limit 4'
ARGS ?=

# timed,WHAT,COMMAND: runs the command and says how long it took.
timed = started=$$SECONDS; code=0; $(2) || code=$$?; \
  printf 'make: %s took %s s\n' '$(1)' "$$((SECONDS - started))" >&2; exit $$code

.PHONY: help setup server run experiment ui stop screenshots lint test

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || \
	  sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1 - \2/p' Makefile

setup: ## make .venv with vLLM, MLflow and the clients (once)
	@bash vllm_server/setup_environment.sh

server: setup ## start the judge in the background and wait until it answers
	@bash vllm_server/start_server.sh

run: ## everything: setup, server, and judge the shipped CSV into MLflow
	@$(call timed,setup,$(MAKE) setup)
	@$(call timed,server,bash vllm_server/start_server.sh)
	@$(call timed,experiment,.venv/bin/python mlflow_tracking/run_experiment.py $(ARGS))

experiment: setup ## judge the shipped CSV with the server that runs; ARGS='--limit 4' adds flags
	@.venv/bin/python mlflow_tracking/run_experiment.py $(ARGS)

ui: setup ## look at the runs on http://127.0.0.1:5000, or where MLFLOW_TRACKING_URI says
	@eval "$$(.venv/bin/python llm_client/settings.py)"; case $$MLFLOW_TRACKING_URI in \
	  http://*|https://*) echo "the runs are at $$MLFLOW_TRACKING_URI" ;; \
	  *) MLFLOW_BACKEND_STORE_URI=$$MLFLOW_TRACKING_URI exec .venv/bin/mlflow ui --host 127.0.0.1 ;; esac

stop: ## end the server that `make server` or `make run` started
	@bash vllm_server/stop_server.sh

screenshots: setup ## take the pictures in screenshots/ anew, of the server, the clients and a run
	@bash vllm_server/setup_environment.sh --dev
	@bash vllm_server/start_server.sh
	@.venv/bin/python screenshots/make_screenshots.py $(ARGS)

lint: ## ruff, mypy, the order of the rooms, shellcheck
	@bash vllm_server/setup_environment.sh --dev
	.venv/bin/ruff check $(PYTHON_FILES)
	.venv/bin/ruff format --check $(PYTHON_FILES)
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/shellcheck vllm_server/*.sh .ci/run

test: lint ## lint, type-check, run every test (a real vLLM included)
	.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)
