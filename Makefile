# Everything a person or a machine does with this tree. `make` alone lists the targets.
#
# Every target works in a fresh clone: what is missing is installed first (see tests/support/install), and nothing is kept
# outside of the clone except what cargo itself keeps.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

CARGO := cargo
LOCKED := --locked
# Tests of the suite at a time. They mostly wait: one run of it takes a minute of CPU.
SUITE_THREADS := 6
# Test programs of the libraries' packages: a file, or a directory with its main file, each.
LIBRARY_TESTS := $(basename $(notdir $(wildcard control/tests/*.rs bench/tests/*.rs))) $(notdir $(patsubst %/main.rs,%,$(wildcard control/tests/*/main.rs bench/tests/*/main.rs)))
# What runs under every driver.
SUITE_TESTS := appliance tree
# Seconds each fuzz target runs.
FUZZ_SECONDS := 30
# Tests of real players that play for a minute, of media that repeat for as long, and of what other programs make of the metrics:
# once, beside the fuzzers, and not once per driver.
LONG := browser:: dashboards:: hls_players::players_play_on looping::
# What `make bench` runs: any words sluice-bench knows.
BENCH := floor

# One line in front of each step, so that a long log can be read afterwards.
say = @printf '\n== %s\n' '$(1)'

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: tools-build panel release ## Install what is missing, build everything, serve the demo channel
	$(call say,serving the demo; stop it with Ctrl-C)
	@exec target/release/sluice --demo

.PHONY: test
test: tools-test panel lint build-test unit suite described docker panel-test fuzz-and-play ## Install what is missing, run every test
	$(call say,all tests passed)

.PHONY: lint
lint: tools-lint fmt clippy rustdoc ## Format check, clippy and rustdoc with warnings as errors

.PHONY: bench
bench: tools-build release ## Measure on this machine; BENCH="play --help" passes other words
	$(call say,sluice-bench $(BENCH))
	@target/release/sluice-bench $(BENCH)

.PHONY: bench-check
bench-check: tools-build panel ## Measure this tree against the commit before it, in turn; fails on a loss (not part of test)
	@bench/check

.PHONY: fuzz
fuzz: tools-fuzz ## Fuzz every parser for an hour each
	$(call say,fuzz targets for an hour each)
	@tests/fuzz/run 3600

.PHONY: docs
docs: tools-build ## Print the settings reference from its table, and the description of the API from its routes
	@SLUICE_TEST_WRITE_DOCS=1 $(CARGO) test $(LOCKED) --quiet --package sluice --lib the_reference_page
	@SLUICE_TEST_WRITE_DOCS=1 $(CARGO) test $(LOCKED) --quiet --package sluice-control --lib the_description_is

.PHONY: deny
deny: ## Check licences and sources of dependencies (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	@cargo deny check

# What the panel is made of; what is built from it is embedded by the next build of the program.
PANEL_SOURCES := $(shell find dashboard/src dashboard/public dashboard/index.html dashboard/vite.config.ts -type f)

.PHONY: panel
panel: dashboard/dist/panel/index.html ## Build the panel, which the next build embeds
dashboard/node_modules/.package-lock.json: dashboard/package.json dashboard/package-lock.json
	$(call say,install the packages of the panel)
	@cd dashboard && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
dashboard/dist/panel/index.html: dashboard/node_modules/.package-lock.json $(PANEL_SOURCES)
	$(call say,build the panel)
	@cd dashboard && npm run --silent build

.PHONY: screenshots
screenshots: panel ## Take pictures of every page of the panel into docs/images
	@cd dashboard && npm run --silent screenshots

.PHONY: release
release:
	$(call say,build in release mode)
	@$(CARGO) build $(LOCKED) --release --workspace --bins

# ---- the steps of `make test`, each of which can be run alone ----

.PHONY: tools-build tools-fuzz tools-lint tools-test
tools-build:
	@tests/support/install build panel
tools-fuzz:
	@tests/support/install build fuzz
tools-lint:
	@tests/support/install build lint
tools-test:
	@tests/support/install build lint fuzz play panel browser api docker

.PHONY: fmt clippy rustdoc
fmt:
	$(call say,format)
	@$(CARGO) fmt --all --check
clippy:
	$(call say,clippy)
	@$(CARGO) clippy $(LOCKED) --quiet --workspace --all-targets -- --deny warnings
rustdoc:
	$(call say,rustdoc)
	@RUSTDOCFLAGS='--deny warnings' $(CARGO) doc $(LOCKED) --quiet --workspace --no-deps

.PHONY: build-test
build-test:
	$(call say,build programs and tests)
	@$(CARGO) test $(LOCKED) --quiet --workspace --no-run

# All tests of the three libraries' packages, and of the appliance those that do not start it. Every step names tests of
# the whole workspace: with other packages chosen dependencies would have other features and be built anew.
.PHONY: unit
unit:
	$(call say,unit tests)
	@$(CARGO) test $(LOCKED) --quiet --workspace --lib --bins $(LIBRARY_TESTS:%=--test %)
	@$(CARGO) test $(LOCKED) --quiet --workspace --doc

# The whole appliance, but for players that play for long, under every driver a shard may get. `seccomp` leaves the driver to the appliance and takes io_uring
# away from it, as Docker does.
.PHONY: suite
suite:
	@export RUST_TEST_THREADS=$(SUITE_THREADS); for driver in io_uring epoll seccomp; do \
		printf '\n== the appliance, driver %s\n' "$$driver"; \
		SLUICE_TEST_DRIVER="$$driver" $(CARGO) test $(LOCKED) --quiet --workspace $(SUITE_TESTS:%=--test %) -- $(LONG:%=--skip %); \
	done

# Whatever is sent, what comes back is what the description says.
.PHONY: described
described:
	$(call say,the API against its description)
	@tests/support/schemathesis 25

# Engines in a real Docker, once: the driver makes no difference there. One of its tests looks on with a browser.
.PHONY: docker
docker: panel
	$(call say,engines in Docker)
	@$(CARGO) test $(LOCKED) --quiet --workspace --test docker

# Players mostly wait, fuzzers never do, and stand back.
.PHONY: fuzz-and-play
fuzz-and-play:
	$(call say,fuzz targets for $(FUZZ_SECONDS) s each and beside them players that play for a minute)
	@SLUICE_TEST_DRIVER=io_uring $(CARGO) test $(LOCKED) --quiet --workspace --test appliance -- \
		--test-threads $(SUITE_THREADS) $(LONG) \
		>target/players.log 2>&1 & players=$$!; failed=0; \
	nice -n 10 tests/fuzz/run $(FUZZ_SECONDS) || failed=1; \
	wait "$$players" || failed=1; \
	cat target/players.log; \
	exit "$$failed"

# Types, the components' own tests, and the panel in a browser: on its mock, and in the binary that `build-test` made.
.PHONY: panel-test
panel-test: panel
	$(call say,the panel)
	@cd dashboard && npm run --silent typecheck && npm test --silent && npm run --silent test:browser
