# SPDX-License-Identifier: Apache-2.0
# The two commands that a new user needs: `make run` and `make test`. Both install what is missing (as root on a
# Debian-like system; otherwise they print the command) and build.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
# Real-world data that is not ours to ship (see CONTRIBUTING.md). Tests that need it say so when it is not there.
SHARED ?= ../shared
ARGS ?=
ACCOUNTANTS ?=
TRIALS ?=
# How long `make fuzz` runs each target, which, and what is instrumented: everything (a quarter of an hour to build), or our own crates.
FUZZ_SECONDS ?= 600
FUZZ ?=
FUZZ_BUILD ?= all
TARGET = $(or $(CARGO_TARGET_DIR),target)

# Not KEPLER_...: those are settings, and the daemon refuses unknown ones.
export BUILD_REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
export BUILD_BRANCH ?= $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null || echo unknown)

.PHONY: help run test test-page lint fmt build objects check-objects test-kernels test-guest test-vms bench bench-attribution bench-daemon bench-exporter bench-probes bench-sources train setup-build setup-objects setup-test setup-page setup-lint setup-guest setup-meters setup-vms setup-bench test-containers bench-workloads setup-containers test-kube setup-kube setup-image test-image setup-packages packages test-packages test-deploy setup-deploy deploy-files lab test-faults test-crash soak fuzz budgets storm memcheck miri audit setup-budgets

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup-build: ## Install what the build needs
	@deploy/install-packages.sh build

setup-objects:
	@deploy/install-packages.sh objects

setup-test:
	@deploy/install-packages.sh test

setup-bench:
	@deploy/install-packages.sh bench

setup-budgets:
	@deploy/install-packages.sh budgets

setup-lint:
	@deploy/install-packages.sh lint

build: setup-build ## The release binary, target/release/kepler
	$(CARGO) build --release --locked -p actors

objects: setup-build setup-objects ## Compile the committed eBPF objects again, after a change in probes/ebpf/bpf
	@probes/ebpf/objects.sh rebuild

check-objects: setup-build setup-objects ## Prove that the committed eBPF objects are what the sources say
	@probes/ebpf/objects.sh check

run: build ## Measure this node; figures on http://localhost:28282/ (ARGS="--tick 5s" adds flags)
	@deploy/mount-kernel-filesystems.sh
	target/release/kepler $(ARGS)

test: setup-build setup-test ## Every test that this machine can run; says what it skips
	@deploy/mount-kernel-filesystems.sh
	SHARED="$(abspath $(SHARED))" $(CARGO) nextest run --workspace --locked --no-fail-fast --success-output final --failure-output final
	$(CARGO) test --workspace --locked --doc

setup-page:
	@deploy/install-packages.sh page

# SCREENSHOTS=FOLDER also takes pictures of it.
test-page: setup-build setup-page ## The live page in headless Chromium, before the real daemon
	$(CARGO) build --locked -q -p actors
	integration-tests/page/run.sh "$(TARGET)/debug/kepler"

setup-guest:
	@deploy/install-packages.sh guest

# KERNELS="6.1 newest:storm" boots some of them, and of their tests those with such a name, and prints the table only.
test-kernels: setup-build setup-objects setup-guest ## The probe and the daemon on Debian's 5.10, 6.1, 6.12 and newest kernels, in QEMU; writes docs/kernels.md, and of docs/faults.md the rows of guests
	integration-tests/guest/run.sh $(KERNELS)
	$(CARGO) run --locked -q -p integration-tests --bin faults guests .cache/kernels/results $(if $(KERNELS),,docs/faults.md)
	$(CARGO) run --locked -q -p integration-tests --bin kernels .cache/kernels/results $(if $(KERNELS),,docs/kernels.md)

setup-meters: setup-guest
	@deploy/install-packages.sh meters

# GUESTS="intel ipmi" boots some of them, and prints the tables only.
test-guest: setup-build setup-meters ## The daemon beside the kernel's own drivers for meters, in QEMU; writes docs/guest.md
	integration-tests/guest/meters/run.sh $(GUESTS)
	$(CARGO) run --locked -q -p integration-tests --bin meters .cache/guest/results $(if $(GUESTS),,docs/guest.md)

setup-vms: setup-test setup-guest
	@deploy/install-packages.sh vms

test-vms: setup-build setup-vms ## Real virtual machines, libvirt's among them, and one fed by its host (QEMU, 9p, virtiofs), as root
	@deploy/mount-kernel-filesystems.sh
	integration-tests/guest/share/prepare.sh
	SHARE_GUEST="$(CURDIR)/.cache/share" $(CARGO) nextest run -p integration-tests --locked --no-fail-fast --success-output final --failure-output final --test vms --test passthrough

setup-containers:
	@deploy/install-packages.sh containers

test-containers: setup-build setup-test setup-containers ## Docker, containerd and Podman for real, started by the tests (as root; installs them)
	@deploy/mount-kernel-filesystems.sh
	$(CARGO) nextest run -p integration-tests --locked --features runtimes --test runtimes --test containers -j 1 --no-fail-fast --success-output final --failure-output final

setup-kube: setup-build
	@deploy/install-packages.sh kube

# With the image that test-image made last.
test-kube: setup-kube ## The daemon and its image on a real Kubernetes node, built once (15 minutes) and started here; writes docs/kube.md
	@[[ -e .cache/image/kepler-amd64.tar ]] || $(MAKE) test-image
	@deploy/mount-kernel-filesystems.sh
	integration-tests/kube/run.sh
	$(CARGO) run --locked -q -p integration-tests --bin kube .cache/kube/results docs/kube.md

setup-packages: setup-build
	@deploy/install-packages.sh packages

packages: build setup-packages ## A Debian and an RPM package, in target/debian and target/generate-rpm
	strip --strip-debug -o "$(TARGET)/release/kepler.stripped" "$(TARGET)/release/kepler"
	@mkdir -p "$(TARGET)/release/completions"
	"$(TARGET)/release/kepler" completions bash > "$(TARGET)/release/completions/kepler.bash"
	"$(TARGET)/release/kepler" completions zsh > "$(TARGET)/release/completions/_kepler"
	"$(TARGET)/release/kepler" completions fish > "$(TARGET)/release/completions/kepler.fish"
	$(CARGO) deb --no-build --no-strip --locked -q -p actors
	$(CARGO) generate-rpm -p actors --auto-req auto

test-packages: packages ## The Debian package installed, reloaded, upgraded and purged under a real systemd (QEMU, as root)
	integration-tests/packages/run.sh

setup-image: setup-build
	@deploy/install-packages.sh image

test-image: setup-image ## The image, built by its Dockerfile for amd64 and arm64, and run with few rights (as root)
	@deploy/mount-kernel-filesystems.sh
	integration-tests/image/run.sh

setup-deploy:
	@deploy/install-packages.sh deploy

# kubectl 1.21 or newer has to be there for the overlays; what Debian 12 has is older.
test-deploy: setup-build setup-test setup-deploy ## deploy/ with Helm, kustomize and the schemas of those who read it; the dashboards and rules in Prometheus
	integration-tests/deploy/run.sh $(CARGO) nextest run -p integration-tests --locked --no-fail-fast --success-output final --failure-output final --test deploy --test manifests --test dashboards --test rules

deploy-files: setup-build ## Write the dashboards, and the rules as the Prometheus operator takes them, after a change of either
	$(CARGO) run --locked -q -p integration-tests --bin deploy-files deploy

lab: setup-build ## Bills of a simulated node against its truth, and against other rules; writes docs/lab.md and docs/lab.svg
	$(CARGO) run --locked -q -p lab -- --docs docs

test-faults: setup-build setup-test ## The fault matrix: one thing after the other is broken beside the daemon; writes docs/faults.md
	@deploy/mount-kernel-filesystems.sh
	rm -rf .cache/faults
	FAULTS="$(CURDIR)/.cache/faults" $(CARGO) nextest run -p integration-tests --locked --no-fail-fast --success-output final --failure-output final --test fault_matrix
	$(CARGO) run --locked -q -p integration-tests --bin faults .cache/faults docs/faults.md

SECONDS_OF_SOAK ?= 3600
soak: setup-build setup-test ## An hour beside processes, containers and scrapers that come and go (SECONDS_OF_SOAK); prints docs/soak.md's tables
	@deploy/mount-kernel-filesystems.sh
	$(CARGO) run --release --locked -q -p integration-tests --bin soak -- $(SECONDS_OF_SOAK)

CRASHES ?= 200
test-crash: setup-build setup-test ## The daemon killed at any moment, 200 times (CRASHES says how often)
	@deploy/mount-kernel-filesystems.sh
	CRASHES="$(CRASHES)" $(CARGO) nextest run -p integration-tests --locked --success-output final --failure-output final --test crash

# libFuzzer on stable Rust: the flags of cargo-fuzz without those that only nightly has. With a target of its own name, so that
# build scripts are left alone.
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
export FUZZ_FLAGS = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares

# FUZZ="libvirt redfish" runs some targets, FUZZ_SECONDS=60 runs each for a minute.
fuzz: setup-build ## Every parser under libFuzzer, ten minutes each (some five hours); writes docs/fuzzing.md
	$(if $(filter all,$(FUZZ_BUILD)),RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --profile fuzz --locked -p fuzz --features libfuzzer --bin libfuzzer --target $(FUZZ_HOST) --target-dir "$(TARGET)/fuzz")
	$(if $(filter own,$(FUZZ_BUILD)),RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/integration-tests/fuzz/rustc.sh" $(CARGO) build --locked -p fuzz --features libfuzzer --bin libfuzzer)
	$(CARGO) run --locked -q -p fuzz --bin fuzzing -- "$(TARGET)/$(if $(filter all,$(FUZZ_BUILD)),fuzz/$(FUZZ_HOST)/fuzz,debug)/libfuzzer" $(FUZZ_BUILD) $(FUZZ_SECONDS) .cache/fuzz docs/fuzzing.md $(FUZZ)

# Of everything at once, with what is tested: so that only what is counted is compiled anew, and nothing below it.
BUDGETS = budget_window budget_page budget_drain budget_programs
budgets: setup-build setup-budgets ## Instructions of a window, a page, a drain and the eBPF programs, held to integration-tests/budgets.toml
	$(CARGO) build --workspace --locked -q --config integration-tests/budgets/profile.toml --bin budgets $(BUDGETS:%=--example %)
	"$(TARGET)/debug/budgets" "$(TARGET)/debug/examples" integration-tests/budgets.toml

SEEDS ?= 3000
ORDERS ?= 10000
storm: setup-build setup-test ## Every message lost, late and out of order in 3,000 ways (SEEDS), and threads in 10,000 orders of each kind (ORDERS)
	SEEDS="$(SEEDS)" ORDERS="$(ORDERS)" $(CARGO) nextest run -p actors --locked --success-output final --failure-output final -E 'test(storm) + binary(bridge)'

memcheck: setup-build setup-objects setup-budgets ## The unsafe code, on this kernel and under valgrind's memcheck (as root)
	@deploy/mount-kernel-filesystems.sh
	probes/ebpf/memcheck.sh

# What Miri can run: it knows no bpf(2) and no perf_event_open(2), so the calls themselves are for `make memcheck`.
# Properties over hundreds of cases, which take hours there; and perf_event_open(2), which it does not know.
NOT_IN_MIRI = every_slice_is_charged_once what_ran_is_charged_once rows_that_found_no_room rises_of_rows_add_up a_machine_without_a_pmu threads::tests::machine
miri: setup-build ## What is shared with eBPF programs and read out of their bytes, under Miri (a nightly toolchain with it)
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test -p probe-ebpf --locked --lib -- seats accounts totals unnamed counters scheduler $(NOT_IN_MIRI:%=--skip %)

audit: setup-lint ## Known vulnerabilities and withdrawn versions below us; fails where the database cannot be had
	@integration-tests/audit.sh

lint: setup-lint check-objects ## Format, clippy, docs, licences, committed objects
	@git ls-files '*.rs' | xargs rustfmt --check --edition 2024
	@git ls-files '*.bpf.c' 'probes/ebpf/bpf/*.h' | xargs clang-format --dry-run --Werror
	$(CARGO) clippy --workspace --all-targets --features integration-tests/runtimes --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	$(CARGO) deny --locked check bans licenses sources

fmt: ## Format everything
	@git ls-files '*.rs' | xargs rustfmt --edition 2024
	@git ls-files '*.bpf.c' 'probes/ebpf/bpf/*.h' | xargs clang-format -i

# Trials of other programs at the context switch: TRIALS="a.bpf.o b.bpf.o" measures them beside ours.
bench: bench-attribution bench-daemon bench-exporter bench-probes bench-sources bench-workloads ## Every cost on this machine, as tables (ten minutes, needs root)

bench-daemon: build setup-objects setup-bench ## Cost of the whole daemon (ACCOUNTANTS="switch scheduler" says which)
	@deploy/mount-kernel-filesystems.sh
	$(CARGO) run --release --locked -q -p integration-tests --bin bench -- $(ACCOUNTANTS)

bench-probes: setup-build setup-objects setup-bench ## Cost and exactness of the eBPF probes alone
	@deploy/mount-kernel-filesystems.sh
	$(CARGO) bench --locked -q -p probe-ebpf --bench switch -- $(abspath $(TRIALS))
	$(CARGO) bench --locked -q -p probe-ebpf --bench drain
	$(CARGO) bench --locked -q -p probe-ebpf --bench scheduler
	$(CARGO) bench --locked -q -p probe-ebpf --bench exact

bench-attribution: setup-build ## Cost of paying one window, and its allocations
	$(CARGO) bench --locked -q -p attribution --bench window

bench-exporter: setup-build setup-bench ## Cost of a page, and of many scrapers beside the daemon's ticks
	$(CARGO) bench --locked -q -p exporter --bench page
	$(CARGO) run --release --locked -q -p integration-tests --bin scrapes

bench-sources: setup-build ## Cost of one reading of each power source, and of one estimate
	$(CARGO) bench --locked -q -p power-sources --bench read
	$(CARGO) bench --locked -q -p power-sources --bench estimate

bench-workloads: setup-build ## Cost of knowing who is who, and that it stays bounded
	@deploy/mount-kernel-filesystems.sh
	$(CARGO) bench --locked -q -p probe-workloads --bench resolve

train: setup-build ## Train the built-in model on published results (SHARED=FOLDER); writes it and docs/estimator-report.md
	$(CARGO) run --locked -q -p power-sources --example train -- "$(abspath $(SHARED))"
