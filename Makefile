# Every target installs the Debian packages that it lacks (.ci/need); Rust itself is rustup's.

# The static target is the loader's alone: the operator's tool is dynamic, and a --target of its own
# keeps the two sets of RUSTFLAGS from rebuilding each other's dependencies.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
LOADER_TARGET := x86_64-unknown-linux-gnu
LOADER_FLAGS := -C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"
# The loader's clock never stands before this: when its sources last changed. Empty outside git.
SOURCES_CHANGED := $(shell git log -1 --format=%ct -- src Cargo.toml Cargo.lock 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build demo test lint fuzz mutants bench bench-build clean cargo need-build need-demo need-test need-bench

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: cargo need-build ## both release binaries: target/release/sealboot and the static loader
	cargo build --locked --release --bin sealboot
	$(if $(SOURCES_CHANGED),SEALBOOT_BUILD_TIME=$(SOURCES_CHANGED)) RUSTFLAGS='$(LOADER_FLAGS)' \
	  cargo build --locked --release --no-default-features --bin sealboot-init --target $(LOADER_TARGET)

demo: need-demo build ## everything from a key to a running OS, in QEMU
	$(TARGET_DIR)/release/sealboot demo --loader $(TARGET_DIR)/$(LOADER_TARGET)/release/sealboot-init

test: need-test build ## every test, with those that boot machines
	if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --locked && cargo test --locked --doc; \
	else \
	  cargo test --locked; \
	fi

lint: cargo need-build ## formatting, clippy and rustdoc; a warning is an error
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --lib --bin sealboot-init -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --lib

mutants: cargo need-build ## change format and trust in every small way: does a test notice?
	tests/mutants/run

# In this order, because the first ones are disturbed most by a machine that is warm from the others.
BENCH ?= path mirrors boot size micro

bench: need-bench bench-build ## measure, beside what it could be, into docs/performance.md: BENCH=path
	for bench in $(BENCH); do cargo bench --locked --bench $$bench || exit; done

# What the benchmarks run beside the release binaries: the loader's path as a process, and the loader with
# a map of what it is made of. The map needs names that tell crates apart, so a directory of its own.
SIZE_DIR := $(abspath $(TARGET_DIR))/size
bench-build: build
	RUSTFLAGS='$(LOADER_FLAGS)' cargo build --locked --release --no-default-features --example fetch-path \
	  --target $(LOADER_TARGET)
	RUSTFLAGS='$(LOADER_FLAGS) -C symbol-mangling-version=v0' \
	  cargo rustc --locked --release --no-default-features --bin sealboot-init \
	  --target $(LOADER_TARGET) --target-dir $(SIZE_DIR) \
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
