# Two commands matter: `make demo` and `make test`. The rest is for people who change the code.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml requirements/dev.txt devcluster/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . -e devcluster
	@touch $@

.PHONY: venv
venv: $(VENV)/.installed ## Python environment from the hash-locked requirements

# --- see it work ---------------------------------------------------------------------------------

.PHONY: demo demo-down
demo: venv ## A real Kubernetes on this machine, the operator, and an answer from Gemma 3 270M
	$(BIN)/devcluster demo

demo-down: venv ## Remove everything that `make demo` started
	$(BIN)/devcluster demo --down

# --- prove it ------------------------------------------------------------------------------------

FAULT_PLANS ?= 300

.PHONY: test test-unit test-cluster test-autoscaling test-faults test-vllm test-vllm-sample check
test: check test-vllm-sample test-cluster ## Everything that proves the project

test-unit: venv ## Tests that need no cluster and no Triton
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not cluster and not triton and not vllm"

test-cluster: venv ## Tests on the real Kubernetes and the real Triton of this machine
	$(BIN)/pytest -q -n 3 --dist loadscope -m "(cluster or triton) and not autoscaling"

test-autoscaling: venv ## Replicas through a real KEDA, and an HPA on prometheus-adapter; builds both
	$(BIN)/pytest -q -rP -m autoscaling tests/cluster/autoscaling

test-faults: venv ## 300 seeded plans of faults between operator and API server, and kills at every write
	FAULT_PLANS=$(FAULT_PLANS) $(BIN)/pytest -q tests/faults/test_faults.py

test-vllm: venv ## The vLLM adapter and the KV sizes against real vLLM on CPU (7 GB, cached)
	$(BIN)/pytest -q -m vllm

test-vllm-sample: venv ## Four KV sizes against real vLLM, where its environment is cached (30 s)
	GEMMA_VLLM_SAMPLE=4 $(BIN)/pytest -q -rs -m vllm tests/serving/vllm/test_kv_cache.py || [ $$? -eq 5 ]

check: format lint types layers verify test-unit ## What must be green before each commit; needs no cluster

.PHONY: format lint types layers
format: venv
	$(BIN)/ruff format --check .

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

layers: venv
	$(BIN)/lint-imports

.PHONY: fix
fix: venv ## Format and mend what the linter can
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: test-api bench-gateway bench-guard bench-front-door
test-api: venv ## Thousands of requests made up from the OpenAPI document, against a running gateway
	GATEWAY_API_CASES=400 $(BIN)/pytest -q -rP tests/serving/gateway/test_openapi.py

bench-gateway: venv ## What the gateway adds to Triton, beside LiteLLM and llama.cpp's server; QUICK=1 for neither
	$(BIN)/python benchmarks/gateway/overhead.py $(if $(QUICK),--quick) --json build/bench-gateway.json

bench-guard: venv ## What a guard adds to an answer, beside the guard's own time
	$(BIN)/python benchmarks/gateway/guard.py

bench-front-door: venv ## What the front door adds to a request
	PYTHONPATH=tests/serving/gateway $(BIN)/python -m benchmarks.frontdoor

.PHONY: bench-operator
bench-operator: venv ## A thousand GemmaDeployments on a real API server, and a naive operator as control
	PYTHONPATH=devcluster $(BIN)/python benchmarks/operator

# --- generated files -----------------------------------------------------------------------------

.PHONY: generate verify golden lock monitoring packaging
generate: venv ## Write the CRD, the chart's copy of it and docs/api.md from the types
	$(BIN)/gemma-operator crd --write

verify: venv ## Generated files are what `make generate` would write
	$(BIN)/gemma-operator crd --verify

monitoring: venv ## Rewrite rules, dashboards and the runbook index from charts/gemma_monitoring
	PYTHONPATH=charts $(BIN)/python -m gemma_monitoring --write

packaging: venv ## Rewrite the chart's README and docs/licences.md
	PYTHONPATH=charts:devcluster $(BIN)/python -m gemma_packaging write

golden: venv ## Rewrite the golden manifests; review the diff
	$(BIN)/pytest -q tests/golden tests/chart/test_snapshot.py --update-golden

.PHONY: sizing-report bench-planning
sizing-report: venv ## Rewrite the generated tables and the plot of docs/sizing.md
	$(BIN)/python -m benchmarks.planning.report

bench-planning: venv ## How long planning takes
	$(BIN)/python -m benchmarks.planning

lock: venv ## Re-lock every dependency with hashes
	requirements/lock.sh

# --- publish -------------------------------------------------------------------------------------

.PHONY: docs docs-serve audit release
docs: venv ## The documentation as a site in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: venv ## The same at http://127.0.0.1:8000, rebuilt as files change
	$(BIN)/mkdocs serve

audit: venv ## Known vulnerabilities of what ships; asks the package index, and fails where that cannot tell
	for file in operator serving triton-cpu; do \
	  $(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements/$$file.txt || exit 1; done

release: venv ## Wheel, chart, images, SBOMs and checksums in dist/, which all name one version
	PYTHONPATH=charts:devcluster $(BIN)/python -m gemma_packaging release
