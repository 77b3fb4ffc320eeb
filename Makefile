# Every target installs the Debian packages that it lacks (.ci/need); Rust itself is rustup's.

# Absolute: the loader is built from its own directory, whose .cargo/config.toml makes it static.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
LOADER_TARGET := x86_64-unknown-linux-gnu
LOADER_DIR := $(CARGO_TARGET_DIR)/$(LOADER_TARGET)/release
# The loader's clock never stands before this: when its sources last changed. Empty outside git.
SOURCES_CHANGED := $(shell git log -1 --format=%ct -- src Cargo.toml Cargo.lock 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build demo test lint fuzz mutants bench bench-build clean cargo need-build need-demo need-test need-bench

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: cargo need-build ## both release binaries: target/release/sealboot and the static loader
	cargo build --locked --release --package sealboot
	cd src/loader && $(if $(SOURCES_CHANGED),SEALBOOT_BUILD_TIME=$(SOURCES_CHANGED)) cargo build --locked --release

demo: need-demo build ## everything from a key to a running OS, in QEMU
	$(CARGO_TARGET_DIR)/release/sealboot demo --loader $(LOADER_DIR)/sealboot-init

test: need-test build ## every test, with those that boot machines
	if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --locked --workspace; \
	else \
	  cargo test --locked --workspace; \
	fi

lint: cargo need-build ## formatting, clippy and rustdoc; a warning is an error
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cd src/loader && cargo clippy --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --lib

mutants: cargo need-build ## change what the loader trusts in every small way: does a test notice?
	tests/mutants/run

# In this order, because the first ones are disturbed most by a machine that is warm from the others.
BENCH ?= path mirrors boot size micro

bench: need-bench bench-build ## measure, beside what it could be, into docs/performance.md: BENCH=path
	for bench in $(BENCH); do cargo bench --locked --package sealboot --bench $$bench || exit; done

# What the benchmarks run beside the release binaries: the loader's path as a process, and the loader with
# a map of what it is made of. The map needs names that tell crates apart, so a directory of its own.
SIZE_DIR := $(CARGO_TARGET_DIR)/size
bench-build: build
	cd src/loader && cargo build --locked --release --example fetch-path
	cd src/loader && CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C symbol-mangling-version=v0' \
	  cargo rustc --locked --release --bin sealboot-init --target-dir $(SIZE_DIR) \
	  -- -C link-arg=-Wl,-Map=$(SIZE_DIR)/$(LOADER_TARGET)/release/sealboot-init.map

# Ten minutes a target find what a day finds, most times; CI has less, a night more.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= all

fuzz: cargo need-build ## give every parser of outside bytes ten minutes of libFuzzer: FUZZ_SECONDS, FUZZ_TARGETS
	tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ_TARGETS)

clean: ## remove what was built
	cargo clean

need-build need-demo need-test need-bench:
	@.ci/need $(@:need-%=%)

cargo:
	@command -v cargo >/dev/null || { \
	  echo 'error: this machine lacks Rust' >&2; \
	  echo 'hint: install it by https://rustup.rs, then open a new shell' >&2; exit 1; }
