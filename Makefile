# Everything is installed by the first target that needs it: Python 3.11, Java 17 and make are enough.

PYTHON    ?= python3.11
BUILD      = build
SHARED    ?= ../shared/data
DEV        = .venv
SPARK35    = .venv-spark35
RUN        = $(DEV)/bin/python
NODE       = node_modules/.ready
CDK        = PATH="$(CURDIR)/$(DEV)/bin:$$PATH" node_modules/.bin/cdk
ENV       ?= dev

.PHONY: help setup check test test-spark35 demo environment bench synth lock clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV)/.ready ## .venv with all that a developer needs

check: $(DEV)/.ready ## format, lint, types, import contracts, unit tests; no Java, no TensorFlow
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports --no-cache
	$(RUN) -m pytest -q tests/unit

test: $(DEV)/.ready test-spark35 ## all tests, on Spark 4.1; those of Spark on 3.5 as well
	$(RUN) -m pytest tests

test-spark35: $(SPARK35)/.ready ## the Spark tests on Spark 3.5
	$(SPARK35)/bin/python -m pytest tests/spark

demo: $(DEV)/.ready ## pictures made here, through the whole job, to a table and a plot
	SHARED="$(SHARED)" BUILD="$(BUILD)" PYTHON="$(RUN)" sh bootstrap/demo.sh

environment: $(DEV)/.ready ## the archive that executors unpack, for the default release on arm64; needs no Docker
	$(RUN) -m bootstrap environment --out $(BUILD)/environment

bench: $(DEV)/.ready ## the speed table, as ratios in one run; an hour, and needs the shared data
	$(RUN) -m tests.bench

synth: $(NODE) ## the templates of all environments, to cdk.out/; placeholders for what has not been built
	$(CDK) synth --quiet -c environment=all -c repository=example/verger -c placeholders=true

lock: $(DEV)/.ready ## resolve requirements/*.in again
	cd requirements && for name in uv runtime infra dev spark35; do \
	  ../$(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header $$name.in --output-file $$name.txt; done

clean: ## remove what was built; the virtual environments and node_modules stay
	rm -rf $(BUILD) cdk.out .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(DEV)/.ready: requirements/dev.txt
	$(call install,$(DEV),requirements/dev.txt)

$(SPARK35)/.ready: requirements/spark35.txt
	$(call install,$(SPARK35),requirements/spark35.txt)

$(NODE): package.json package-lock.json $(DEV)/.ready
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" npm ci --silent
	touch $@

# A virtual environment that holds exactly a lock's packages, each with a digest from it.
define install
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here; install Python 3.11, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(1)/bin/uv pip sync --quiet --python $(1)/bin/python --require-hashes $(2)
	-$(1)/bin/python -m bootstrap warm >/dev/null 2>&1 || echo "note: no class archive, so local runs start later (is there a Java 17?)"
	touch $@
endef
