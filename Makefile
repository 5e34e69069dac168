# Every command sets up what it misses (scripts/setup); none needs another to be run first.

LOG  ?= embedded
# Each log's positions are its own, so each has its own data.
DATA ?= data/demo$(if $(filter kafka,$(LOG)),-kafka)

.DEFAULT_GOAL := help
.PHONY: help demo test bench soak lint fmt docs setup setup-python setup-kafka

help:
	@echo 'make demo             run the main job on this machine until stopped: doors, log, jobs, servers'
	@echo 'make demo LOG=kafka   the same on a real Apache Kafka broker'
	@echo 'make test             run every test, on a real Kafka broker too'
	@echo 'make bench            run the benchmarks, each beside a peer'
	@echo 'make soak             the long variants of the tests: hundreds of kills, thousands of cases'
	@echo 'make lint             what .ci/run checks before the tests: format, clippy'
	@echo 'make fmt              format the code'
	@echo 'make docs             build the documentation, and say where it is'
	@echo 'make setup            install what all of these need; setup-python and setup-kafka do a part'
	@echo
	@echo 'DATA=DIR (default data/demo, with Kafka data/demo-kafka) is where the demo keeps its state; remove it to start anew.'

demo:
	@scripts/setup build
	@scripts/setup psql || echo 'demo: going on without psql; the line to paste needs it' >&2
	@LOG='$(LOG)' DATA='$(DATA)' scripts/demo

test: setup ; @scripts/test

bench: ; @scripts/setup build python && scripts/bench

# How long a long variant is; the tests read these, and are short without them.
soak: export AHUAL_KILLS ?= 500
soak: export PROPTEST_CASES ?= 5000
soak: setup ; @scripts/test

setup: ; @scripts/setup build psql python kafka

setup-python: ; @scripts/setup python

setup-kafka: ; @scripts/setup kafka

lint:
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings

fmt: ; @cargo fmt --all

docs:
	@cargo doc --workspace --no-deps
	@echo "open $${CARGO_TARGET_DIR:-target}/doc/ahual/index.html"
