# Every step of the project; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -Eeuo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON_FILES := llm_client mlflow_tracking vllm_server screenshots benchmarks tests
# Anything for the experiment: make run ARGS='--limit 4'
ARGS ?=
# The model under test of `make answers`, a Hugging Face id or a folder, and where it listens.
ANSWER_MODEL ?=
ANSWER_PORT ?= 8001
# As run_vllm_server.sh names it, so that no other model's kept answers are taken for its own.
answer_name = $(or $(notdir $(realpath $(wildcard $(ANSWER_MODEL)/.))),$(ANSWER_MODEL))
# The same key as the judge's: both servers are ours.
ask = eval "$$(.venv/bin/python llm_client/settings.py)"; ANSWER_API_KEY=$$VLLM_API_KEY \
  .venv/bin/python mlflow_tracking/run_experiment.py \
  --answers-from http://127.0.0.1:$(ANSWER_PORT)/v1 --answer-model '$(answer_name)' $(1) $(ARGS)

# timed,WHAT,COMMAND: runs the command and says how long it took.
timed = started=$$SECONDS; code=0; $(2) || code=$$?; \
  printf 'make: %s took %s s\n' '$(1)' "$$((SECONDS - started))" >&2; exit $$code

.PHONY: help setup server run experiment answers ui stop screenshots lint test

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

answers: setup ## ANSWER_MODEL answers the shipped questions, then the judge judges: one server at a time
	@[[ -n '$(ANSWER_MODEL)' ]] || { echo "make: say who answers: make answers ANSWER_MODEL=Qwen/Qwen3-4B" >&2; exit 2; }
	@bash vllm_server/stop_server.sh
	@JUDGE_MODEL='$(ANSWER_MODEL)' SERVER_PORT=$(ANSWER_PORT) bash vllm_server/start_server.sh
	@code=0; $(call ask,--answers-only) || code=$$?; bash vllm_server/stop_server.sh; exit $$code
	@bash vllm_server/start_server.sh
	@$(call ask)

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

# One thread of numpy's for each of the two workers: with more they get in each other's way.
test: lint ## lint, type-check, run every test (a real vLLM included)
	OPENBLAS_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)
