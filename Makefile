# What a newcomer types. Everything here also works by hand; see CONTRIBUTING.md.

CARGO ?= cargo
DATA  ?= data
SEEDS ?= 20000
# A commit to upgrade from, another one than the last with a migration less.
OLD   ?=

.PHONY: run build cluster dist test faults upgrade torture torture-cluster simulate fuzz third-party mutants bench clean

## Build Anser and start it on ./data: make run
run:
	$(CARGO) build --release --locked -p anser
	$(CARGO) run --release --locked --quiet -p anser -- serve --data-dir $(DATA)

build:
	$(CARGO) build --release --locked -p anser

## A whole cluster on this machine, with services of its own, in $(DATA)/cluster: make cluster
cluster: build
	ci/cluster.sh $(DATA)/cluster

## A tarball and a Debian package in target/dist: make dist
dist: build
	ci/dist.sh

## Every check, with a count at the end: make test
test:
	CARGO="$(CARGO)" ci/test.sh

## Breaks the code on purpose, one promise after the other, and wants the tests red: make faults
faults:
	CARGO="$(CARGO)" ci/faults.sh

## Fuzzes what strangers can send, guided by coverage, where a nightly toolchain is: make fuzz SECONDS=60
fuzz:
	CARGO="$(CARGO)" ci/fuzz.sh $(SECONDS)

## Test suites that others wrote, installed from public packages: make third-party
third-party:
	CARGO="$(CARGO)" ci/third-party.sh

## A rolling upgrade of a cluster under load, from the binary of the schema before: make upgrade
upgrade: build
	CARGO="$(CARGO)" ci/upgrade.sh $(OLD)

## The full torture, 20 seeds of a minute with every fault; wants root and an idle machine
torture: build
	ci/torture.sh

## The same for a cluster, 10 seeds of two minutes
torture-cluster: build
	ci/torture.sh --cluster

## Many fresh seeds of the simulation, and how many a minute: make simulate SEEDS=20000
simulate:
	ANSER_SIM_SEEDS=$(SEEDS) $(CARGO) test --release --locked -p anser-server --lib \
		simulation::nothing -- --nocapture

## Breaks the code that keeps the promises in every small way, and tells what no test noticed
mutants:
	CARGO="$(CARGO)" ci/mutants.sh

## The figures of one process in docs/benchmarks.md; takes half an hour on an idle machine
bench: build
	ci/bench.sh

clean:
	$(CARGO) clean
