# The commands people run. Two set everything up on a machine with Python and make only: make demo, make test.
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
export VENV

# Two workers: the tests start real servers, and each worker has its own.
PYTEST_ARGS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check unit kube-apiserver simulate mutants fuzz test-cluster test-sdk test-aws crosscheck helm test-chart image test-image docs bench pins format clean env-demo env-dev generate

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: env-demo ## Show the whole path on this machine: no cluster, no AWS account
	@$(BIN)/trustbind demo $(DEMO_ARGS)

test: env-dev ## Lint, types, import rules, and every test that needs no cluster
	@printf '%s\n' 'trustbind: lint, types and import rules'
	@$(MAKE) --no-print-directory check
	@printf '%s\n' 'trustbind: tests'
	@$(MAKE) --no-print-directory unit
	@printf '%s\n' 'trustbind: all green'

check: env-dev ## Lint, types and import rules alone
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 3

unit: env-dev ## The tests that need no cluster, alone
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m 'not cluster and not sdk and not chart and not image' $(PYTEST_ARGS)

kube-apiserver: ## Build a real kube-apiserver for test-cluster (once; about ten minutes; needs Go)
	@tools/kube-apiserver/build.sh

simulate: env-dev ## Play SEEDS simulated worlds, from FIRST on: pauses, crashes, two leaders, other writers, a hostile tenant
	@cd tests && PYTHONHASHSEED=0 $(abspath $(BIN))/python -m simulation --first $(or $(FIRST),0) --seeds $(or $(SEEDS),300) --workers $(WORKERS) $(if $(TENANTS),--tenants)

mutants: env-dev ## Look for each mutant of the code that the simulation has to find
	@cd tests && PYTHONHASHSEED=0 $(abspath $(BIN))/python -m simulation --seeds $(or $(SEEDS),3000) --workers $(WORKERS) --mutants

fuzz: env-dev ## Fuzz for FUZZ_SECONDS each: all targets, or TARGET (mutate, validate, documents, grants, objects, manifests, tokens)
	@tools/atheris.sh
	@cd tests && $(abspath $(BIN))/python -m fuzz --seconds $(or $(FUZZ_SECONDS),60) $(TARGET)

test-cluster: helm ## The tests against a real kube-apiserver and etcd
	@$(BIN)/python -m pytest -q -m cluster $(PYTEST_ARGS) tests/cluster

test-sdk: env-dev ## The tests with the AWS CLI and the SDKs for JavaScript and Go (needs node, npm, go)
	@PYTHON="$${PYTHON:-$(BIN)/python}" tools/sdk/prepare.sh || true
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m sdk $(PYTEST_ARGS) tests/sdk

test-aws: env-dev ## Compare what is assumed of AWS with a sandbox account: AWS_ARGS='--account-id ID'; alone: what it would do and cost
	@cd tests && $(abspath $(BIN))/python -m aws_probes $(AWS_ARGS)

crosscheck: env-dev ## Compare the evaluator with iam-simulate on DOCUMENTS trust policies, from FIRST on (node, npm)
	@tools/crosscheck/prepare.sh
	@$(BIN)/python tools/crosscheck/crosscheck.py "$$(tools/crosscheck/prepare.sh --where)" \
	  --first $(or $(FIRST),0) --documents $(or $(DOCUMENTS),200)

helm: env-dev ## Fetch Helm 3, Helm 4 and kubectl for the tests (once)
	@$(BIN)/python tools/helm.py

test-chart: helm ## The chart, by both versions of Helm
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m chart $(PYTEST_ARGS) tests/chart

image: ## Build the image (needs buildah; debootstrap where no base can be pulled)
	@tools/image.sh base && tools/image.sh build

test-image: env-dev image ## Run both halves in the image (root, buildah, runc)
	@$(BIN)/python -m pytest -q -m image $(PYTEST_ARGS) tests/image

generate: env-dev ## Make again what is made from something else: chart, manifests, reference pages, vectors of the local AWS
	@$(BIN)/python tools/chart.py sync
	@$(BIN)/python tools/chart.py render
	@$(BIN)/python tools/reference.py
	@cd tests && $(abspath $(BIN))/python -m aws_probes --local

docs: env-dev ## Build the documentation site into build/site
	@$(BIN)/zensical build --strict

bench: env-dev ## Measure both halves against floors and peers
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

format: env-dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet . || true

pins: ## Renew requirements/*.txt (needs uv)
	@for set in 'run:--extra webhook --extra operator' 'demo:--extra localaws --group build' 'dev:--extra localaws --group dev'; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
	    pyproject.toml $${set#*:} --output-file requirements/$${set%%:*}.txt || exit 1; \
	done
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
	  --group build --output-file requirements/build.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
	  --group fuzz --output-file requirements/fuzz.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
	  tools/sdk/aws-cli.in --output-file tools/sdk/aws-cli.txt

clean: ## Remove what the commands above made here
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

env-demo:
	@tools/environment.sh demo

env-dev:
	@tools/environment.sh dev
