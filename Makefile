# Two commands for everybody: make demo, make test. Each does all of its own set-up in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test soak-ingest test-faults check format docs constraints train story evaluate bench-server bench-ingest bench-tags bench-models bench-drift bench-dispatch bench-broker bench-gpu clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.runtime: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing lineside[all] into .venv (the first time takes some minutes)"
	@$(PIP) install -c constraints.txt -e '.[all]'
	@touch $@

.venv/.dev: .venv/.runtime
	@echo "installing the development tools into .venv"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

install: .venv/.dev  ## Create .venv with everything

demo: .venv/.runtime  ## Plant, broker, worker and gateway on loopback; ARGS="--for 90 --report report.json" ends by itself
	@$(BIN)/lineside demo $(ARGS)

test: .venv/.dev  ## The test suite: real OPC UA servers, a real broker, a real Celery worker
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

test-faults: .venv/.dev  ## Faults injected into real processes, tables at the end; LINESIDE_FAULT_KILLS=50 LINESIDE_FAULT_OUTAGE_S=600
	@$(BIN)/python -m pytest -n 3 -m faults --timeout 3600 $(ARGS)

soak-ingest: .venv/.dev  ## A reconnect every 30 s for half an hour: memory, tasks and sessions stay; LINESIDE_SOAK_MINUTES=30
	@$(BIN)/python -m pytest -n 0 -s -m soak $(ARGS)

check: .venv/.dev  ## Format, lint, types, import rules, docs against code
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q -p no:randomly tests/docs

format: .venv/.dev  ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: .venv/.dev  ## Write the reference pages from the code
	@$(BIN)/python docs/generate.py

train: .venv/.runtime  ## Rebuild all shipped models from seeds
	@$(BIN)/lineside train maintenance $(ARGS)
	@$(BIN)/lineside train reject $(ARGS)
	@$(BIN)/lineside train compensation $(ARGS)

story: .venv/.dev  ## From recorded tags to a served, watched and replaced model, command by command; four to seven minutes
	@$(BIN)/python -m pytest -n 0 -s -p no:randomly -m story --timeout 1800 tests/story $(ARGS)

evaluate: .venv/.runtime  ## Paired closed-loop trials on plants no training saw
	@$(BIN)/lineside evaluate $(ARGS)

bench-server: .venv/.runtime  ## CPU per subscribed write and latency of the hosted server, beside asyncua's and node-opcua's
	@$(BIN)/python benchmarks/server/bench.py $(ARGS)

bench-ingest: .venv/.runtime  ## Client CPU per value: Lineside beside asyncua, node-opcua and the transport alone
	@$(BIN)/python benchmarks/ingest/__main__.py $(ARGS)

bench-tags: .venv/.runtime  ## 50,000 tags at 1 Hz and 10,000 at 10 Hz into windows; ARGS="--minutes 5"
	@$(BIN)/python benchmarks/ingest/tags.py $(ARGS)

bench-models: .venv/.runtime  ## Models on public data beside trees; 45 minutes; ARGS="--only cmapss,ai4i", needs LINESIDE_DATA
	@$(BIN)/python -m benchmarks.models $(ARGS)

bench-drift: .venv/.runtime  ## RefPlant's own sensor fault found by the drift watch: delay and false alarms; three minutes
	@$(BIN)/python -m lineside_trials.sensors $(ARGS)

bench-dispatch: .venv/.dev  ## Lineside beside the bare forward pass and other model servers: CPU, throughput, latency
	@$(BIN)/python -m benchmarks.dispatch $(ARGS)

bench-gpu: .venv/.dev  ## A transformer of 25 M parameters, hosted beside the bare forward pass; skips without CUDA
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

bench-broker: .venv/.dev  ## One Redis or Valkey server under simulated gateways and workers: CPU per batch; ARGS="--write"
	@$(BIN)/python -m benchmarks.broker $(ARGS)

constraints: .venv/.dev  ## Write the versions of .venv to constraints.txt
	@{ head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > .constraints.new
	@mv .constraints.new constraints.txt

clean:  ## Remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis var
