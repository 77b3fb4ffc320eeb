# Every target installs the Debian packages that it lacks (.ci/need); Rust itself is rustup's.

# Absolute: the loader is built from its own directory, whose .cargo/config.toml makes it static.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
LOADER_TARGET := x86_64-unknown-linux-gnu
LOADER_DIR := $(CARGO_TARGET_DIR)/$(LOADER_TARGET)/release
# The loader's clock never stands before this: when its sources last changed. Empty outside git.
SOURCES_CHANGED := $(shell git log -1 --format=%ct -- src Cargo.toml Cargo.lock 2>/dev/null)

AREAS := trust net boot os firmware fleet

.DEFAULT_GOAL := help
.PHONY: help build demo test $(AREAS:%=test-%) test-all test-year-later compat lint fuzz mutants bench bench-build kernel soak \
  clean cargo need-build need-demo need-test need-later need-bench need-mutants

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 } \
	  /^\$$\(AREAS/ { printf "make %-16s %s\n", "test-AREA", $$2 }' $(MAKEFILE_LIST)

build: cargo need-build ## both release binaries: target/release/sealboot and the static loader
	cargo build --locked --release --package sealboot
	cd src/loader && $(if $(SOURCES_CHANGED),SEALBOOT_BUILD_TIME=$(SOURCES_CHANGED)) cargo build --locked --release

demo: need-demo build ## everything from a key to a running OS, in QEMU
	$(CARGO_TARGET_DIR)/release/sealboot demo --loader $(LOADER_DIR)/sealboot-init

# Without nextest there are no tiers: everything runs.
NEXTEST = @if cargo nextest --version >/dev/null 2>&1; then \
	  set -x; cargo nextest run --locked --workspace --profile $(1); \
	else \
	  set -x; cargo test --locked --workspace; \
	fi

test: need-test build ## unit and whole-binary tests, and 24 smoke guests
	$(call NEXTEST,smoke)

$(AREAS:%=test-%): test-%: need-test build ## the guests of an area: trust net boot os firmware fleet
	$(call NEXTEST,$*)

test-all: need-test build ## every test
	$(call NEXTEST,all)

test-year-later: need-later build ## what depends on a clock, as if a year had passed since the build
	tests/a-year-later

compat: need-test build ## another version's tool and loader on what this one writes, and the reverse: TAG=v1.0.0
	tests/compat/run $(TAG)

lint: cargo need-build ## formatting, clippy and rustdoc; a warning is an error
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cd src/loader && cargo clippy --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --lib

mutants: cargo need-mutants ## change what the loader trusts in every small way: does a test notice?
	tests/mutants/by-hand/run
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

# The kernels that Debian ships, beside the default: see tests/vm/lab.rs.
KERNELS ?= debian12-cloud debian13-cloud debian13
kernel: need-test build ## the guests that depend on the kernel most, on each of KERNELS
	for kernel in $(KERNELS); do \
	  SEALBOOT_TEST_KERNEL=$$kernel cargo nextest run --locked --workspace --profile kernel || exit; \
	done

# A day finds what an hour does not.
SOAK ?= 8h
soak: need-test build ## every test again and again, for SOAK, to find what fails now and then
	cargo nextest run --locked --workspace --profile all --stress-duration $(SOAK)

clean: ## remove what was built
	cargo clean

need-build need-demo need-test need-later need-bench need-mutants:
	@.ci/need $(@:need-%=%)

cargo:
	@command -v cargo >/dev/null || { \
	  echo 'error: this machine lacks Rust' >&2; \
	  echo 'hint: install it by https://rustup.rs, then open a new shell' >&2; exit 1; }
