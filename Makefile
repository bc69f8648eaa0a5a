# What a newcomer types. Everything here also works by hand; see CONTRIBUTING.md.

CARGO ?= cargo
DATA  ?= data

.PHONY: run build test faults mutants bench clean

## Build Anser and start it on ./data: make run
run:
	$(CARGO) build --release --locked -p anser
	$(CARGO) run --release --locked --quiet -p anser -- serve --data-dir $(DATA)

build:
	$(CARGO) build --release --locked -p anser

## Every check, with a count at the end: make test
test:
	CARGO="$(CARGO)" ci/test.sh

## Breaks the code on purpose, one promise after the other, and wants the tests red: make faults
faults:
	CARGO="$(CARGO)" ci/faults.sh

## Breaks the code that keeps the promises in every small way, and tells what no test noticed
mutants:
	CARGO="$(CARGO)" ci/mutants.sh

## The figures of docs/benchmarks.md; takes half an hour on an idle machine
bench: build
	ci/bench.sh

clean:
	$(CARGO) clean
