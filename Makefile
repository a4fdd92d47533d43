# Everything a newcomer needs. `make help` lists it.

CARGO ?= cargo
# One profile for everything: RocksDB's C++ is compiled once for each (docs/decisions/0001-one-build-profile.md).
RELEASE := --release --locked
# The program is compiled as one, out of the libraries that tests use as well (docs/decisions/0020-how-it-is-compiled.md).
AS_ONE := -C lto=fat
# Flags of your own, also none, take the place of those in .cargo/config.toml: AVX-512 is left out then.
ifneq ($(origin RUSTFLAGS),undefined)
override RUSTFLAGS += -Cembed-bitcode=yes
export RUSTFLAGS
endif
TARGET := $(shell $(CARGO) metadata --format-version 1 --no-deps --offline 2>/dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

.DEFAULT_GOAL := help
.PHONY: help deps build workspace demo test stack-test fuzz instructions check verify-example

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

deps: ## Install what is missing on Debian (a C++ compiler, libclang)
	@scripts/install-deps

workspace: deps
	@scripts/announce-build
	$(CARGO) build $(RELEASE) --workspace

build: workspace ## Build the programs
	@echo "== compiling the program as one: four minutes on 2 cores where something has changed"
	$(CARGO) rustc $(RELEASE) --package assent --bin assent -- $(AS_ONE)

demo: build ## Run the main job and show it: consents become proofs
	@scripts/demo "$(TARGET)/release"

test: workspace ## Run all tests
	@scripts/install-deps test
	$(CARGO) test $(RELEASE) --workspace

stack-test: workspace ## Build the image with a Docker engine, and kill the stack's containers under load
	@scripts/stack-test "$(TARGET)"

fuzz: deps ## Fuzz everything that reads bytes of others, FUZZ_SECONDS (60) for each target
	@scripts/fuzz $(or $(FUZZ_SECONDS),60) "$(TARGET)"

instructions: workspace ## Count the instructions of the hot functions, and compare them with what they were
	@scripts/instructions

check: deps ## Formatting, lints, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(RELEASE) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RELEASE) --workspace --no-deps --quiet

verify-example: ## Build the small verifier and check a proof that ships, and a damaged copy of it
	$(CARGO) build $(RELEASE) --package assent-verify
	@scripts/verify-example "$(TARGET)/release/assent-verify"
