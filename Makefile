# `make demo` and `make test` need only Python 3.11-3.13 with venv: they make .venv themselves.
# PYTHON=/path/to/python3.12 chooses the interpreter, ARGS=… is passed to the command.

BIN := .venv/bin
INPUTS := pyproject.toml client/pyproject.toml constraints.txt .ci/setup
VLLM_TESTS := 130  # so many must pass in tests/vllm: tests that are not found or skipped are noticed

.PHONY: help setup demo test test-vllm clients lint bench-queue bench-openai bench-engine bench-vllm faults faults-long outages restarts bench-losses bench-upkeep bench-tables bench-evals bench-perplexity proof stall screenshots map clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: .venv/ready-test  ## make .venv with everything for running, testing and linting

demo: .venv/ready-demo  ## start everything with a small real model and run a sample batch; ARGS=--once ends after it
	@$(BIN)/promptmill demo $(ARGS)

test: lint  ## lint, then every test that this machine can run; ARGS=… runs pytest once, with these arguments
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	$(BIN)/pytest -n 3 --dist loadfile
endif

test-vllm: .venv-vllm/ready  ## tests of vLLM as an engine, and of formats with its llguidance, in .venv-vllm: downloads 1.5 GB once
	.venv-vllm/bin/python -m pytest -n 0 tests/vllm $(or $(ARGS),tests/unit/structured --at-least=$(VLLM_TESTS))

clients: .venv-clients/ready  ## make .venv-clients with libraries that get structure from models, for their tests

lint: .venv/ready-test  ## ruff (rules and layout), mypy, the import contracts and the limits of length
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/sizes.py

map: .venv/ready-test  ## write the tree of files in docs/architecture.md anew
	$(BIN)/python .ci/map.py

bench-queue: .venv/ready-test  ## measure the queue beside stock Celery; the last line is JSON
	$(BIN)/python -m bench.queue $(ARGS)

bench-openai: .venv/ready-test  ## measure OpenAI's API with the echo engine; the last line is JSON
	$(BIN)/python -m bench.openai $(ARGS)

bench-engine: .venv/ready-test  ## measure the engine on this machine; the last line is JSON
	$(BIN)/python -m bench.engine $(ARGS)

bench-vllm: .venv/ready-test .venv-vllm/ready  ## the same beside vLLM for CPU, then the queue with vLLM as its engine; downloads 1.5 GB once
	$(BIN)/python -m bench.engine --vllm .venv-vllm/bin/python $(ARGS)
	$(BIN)/python -m bench.vllm --vllm .venv-vllm/bin/python $(ARGS)

bench-perplexity: .venv/ready-test  ## measure how well the engine predicts human text, in each precision; last line JSON
	$(BIN)/python -m bench.perplexity $(ARGS)

faults: .venv/ready-test  ## inject faults at random for half a minute and check what was lost or doubled; last line JSON
	$(BIN)/python -m bench.faults $(ARGS)

faults-long: .venv/ready-test  ## the same with 520 faults over 100,000 items, a quarter of an hour
	$(BIN)/python -m bench.faults --long $(ARGS)

outages: .venv/ready-test  ## take Redis away in every way, under load, and measure the recovery; last line JSON
	$(BIN)/python -m bench.outages $(ARGS)

restarts: .venv/ready-test  ## 50 rolling restarts under load, about ten minutes; last line JSON
	$(BIN)/python -m bench.restarts $(ARGS)

bench-losses: .venv/ready-test  ## kill one of four workers while jobs of one item run; last line JSON
	$(BIN)/python -m bench.losses $(ARGS)

bench-upkeep: .venv/ready-test  ## measure what a worker costs Redis, and its memory after 100,000 items; last line JSON
	$(BIN)/python -m bench.upkeep $(ARGS)

bench-tables: .venv/ready-test  ## measure what tables of 100,000 rows and 40 columns cost; last line JSON
	$(BIN)/python -m bench.tables $(ARGS)

bench-evals: .venv/ready-test  ## measure what judging 100,000 rows costs, and single hostile rows; last line JSON
	$(BIN)/python -m bench.evals $(ARGS)
	$(BIN)/python -m bench.evaluator $(ARGS)

proof: .venv/ready-test  ## a table of 5,000 rows through the pages on the demo model, a quarter of an hour
	PROOF=1 $(BIN)/pytest -n 0 -s tests/browser/test_proof.py $(ARGS)

stall: .venv/ready-test  ## measure what one tenant's hostile and large requests cost another tenant; last line JSON
	$(BIN)/python -m bench.stall $(ARGS)

schemas: .venv/ready-test  ## a thousand rows of a hundred schemas on the demo model must be valid; last line JSON
	$(BIN)/python -m tests.support.schema_rows $(ARGS)

screenshots: .venv/ready-test  ## every page, in both themes and at two widths, in the folder screenshots; ARGS="jobs item" only some
	$(BIN)/python -m tests.support.screenshots $(ARGS)

clean:  ## remove .venv, caches and build leftovers; data folders stay
	rm -rf .venv .venv-clients .venv-vllm screenshots build dist *.egg-info client/build client/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv-clients/ready: tests/clients/requirements.txt | .venv/ready-test
	$(BIN)/python -m venv --clear .venv-clients
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv-vllm/ready: pyproject.toml client/pyproject.toml constraints.txt bench/vllm-setup
	@bench/vllm-setup .venv-vllm

.venv/ready-%: $(INPUTS)
	@sh .ci/setup $*
