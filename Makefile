# Targets for people and for CI. "make demo" and "make test" do everything they need on a fresh Debian machine with Go.

GO        ?= go
BIN       := bin
PROGRAMS  := vouchsafe vouchsafe-agent vouchsafe-nvml
FUZZTIME  ?= 60s
export CGO_ENABLED ?= 0

.PHONY: all build test test-vault demo bench fuzz lint generate crash accept setup clean

all: build

## build: the programs, in bin/: static ones, but for vouchsafe-nvml, which loads the driver of NVIDIA GPUs
build:
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '-s -w' -o $(BIN)/ $(PROGRAMS:%=./cmd/%)

## test: everything, with the race detector; installs the software TPM when it may
test: setup
	@bash scripts/test.sh

## test-vault: the part of it that needs a real Vault server, which the first run builds: some minutes
test-vault: setup
	@bash scripts/test.sh vault

## demo: a broker, a good workload, a bad one, and why; also with a software TPM
demo: setup build
	@$(GO) build -o $(BIN)/ ./internal/softtpm
	@bash scripts/demo.sh

## bench: the budgets of the design, as ratios to floors measured in the same run
bench:
	@bash scripts/bench.sh

## fuzz: every fuzz target for FUZZTIME
fuzz:
	@bash scripts/fuzz.sh $(FUZZTIME)

## lint: formatting, vet, generated files, the rules of the house
lint:
	@bash scripts/lint.sh

## generate: the reference pages that are made from code
generate:
	$(GO) generate ./...
	$(GO) run ./internal/gen/policydoc > docs/reference/policy.md.new && mv docs/reference/policy.md.new docs/reference/policy.md
	$(GO) run ./internal/gen/matrix > docs/evidence/README.md.new && mv docs/evidence/README.md.new docs/evidence/README.md
	$(GO) test -count=1 -run '^TestOpenAPI$$' ./broker/api -update
	$(GO) test -count=1 -run '^TestRolesPage$$' ./broker/tenants -update
	VOUCHSAFE_UPDATE=1 $(GO) test -count=1 -run '^TestReference$$' ./cmd/vouchsafe ./cmd/vouchsafe-agent
	VOUCHSAFE_UPDATE=1 $(GO) test -count=1 -run '^TestFiles$$' ./policy/docschema

## accept: the long runs: 300 crashes, every failure of Vault, 200,000 inputs a parser, 100,000 requests, 10,000 records, the core on every store
accept: setup
	VOUCHSAFE_CRASHES=300 VOUCHSAFE_VAULT_FAILURES=1 VOUCHSAFE_MUTATIONS=200000 VOUCHSAFE_REQUESTS=100000 VOUCHSAFE_RECORDS=10000 bash scripts/test.sh accept

setup:
	@bash scripts/setup.sh

clean:
	rm -rf $(BIN)
