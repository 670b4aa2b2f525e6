# Everything a person does with this checkout. `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
export PATH := $(PATH):/usr/sbin:/sbin:$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Whose folder of $(TARGET) is used; benches use release unless PROFILE=debug is said.
PROFILE := debug

# nextest gives every test a process of its own and a limit on hanging; cargo's own runner will do.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
ifdef NEXTEST
RUN := cargo nextest run
else
RUN := cargo test
endif

# How to run something as root without asking; empty if there is no way.
ROOT := $(shell if [ "$$(id -u)" = 0 ]; then echo env; elif sudo -n true 2>/dev/null; then echo sudo -n env; fi)

.PHONY: help demo test sim soak lint fmt fuzz set-up
help: ## this list
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## */  make \1\t/' | expand -t 18

demo: set-up ## a gateway, a private site, devices, on this machine only (ARGS=--help explains)
	cargo build --workspace --bins
	@$(TARGET)/debug/demo $(ARGS)

test: set-up lint ## the whole gate: what CI checks, it checks here
ifndef NEXTEST
	@echo "cargo-nextest is not installed: using cargo test (cargo install --locked cargo-nextest)"
endif
	cargo build --workspace --bins
	@echo "== unit tests, walls, and the product as an ordinary user"
	$(RUN) --workspace
ifneq ($(ROOT),)
	@echo "== the product as root"
	$(RUN) -p tests --test e2e --config 'target."cfg(unix)".runner = "$(ROOT) DOORWARD_TESTS_AS=root"'
else
	@echo "== the product as root: SKIPPED, you are not root and sudo asks for a password"
endif

sim: ## the packet core in fresh seeded storms, on all cores (MINUTES=20; DOORWARD_SIM_SEED=N runs one)
	DOORWARD_SIM_MINUTES=$(or $(MINUTES),20) cargo test --profile sim -p tunnel --lib -- --ignored --exact sim::long --nocapture

soak: ## the store's writers and servers killed again and again (KILLS=500)
	DOORWARD_SOAK_KILLS=$(or $(KILLS),500) cargo test -p control --test engines -- killed --nocapture

fuzz: ## every fuzz target for MINUTES each (20), JOBS at a time; TARGETS="frames dns" chooses
	@PROFILE=$(PROFILE) deploy/set-up.sh fuzz
	@fuzz/run.sh

lint: ## formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --lib -p protocol -p tunnel -p netio -p connector -p device -p gateway -- --cfg fuzzing -D warnings
	cargo clippy --lib -p gateway --manifest-path fuzz/Cargo.toml --target-dir $(TARGET) -- --cfg fuzzing -D warnings

fmt: ## formats the sources
	cargo fmt --all
	cargo fmt --all --manifest-path fuzz/Cargo.toml

bench-%: PROFILE := release
bench-%: set-up ## one benchmark by name: restart, failover, revoke, policy, relay, tunnel, hostile, peers, store (ARGS=--help explains; bench/README.md)
	cargo build --profile $(PROFILE:debug=dev) --workspace --bins
	@$(TARGET)/$(PROFILE)/bench $* --profile $(PROFILE) --commit "$$(git describe --always --dirty)" $(ARGS)

set-up: ## installs what this machine lacks
	@PROFILE=$(PROFILE) deploy/set-up.sh
