# What a developer and CI run. Everything but `integration` needs only Go.

GO ?= go
GOLANGCI_LINT = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOFUMPT = $(GO) run mvdan.cc/gofumpt@v0.12.0

# The packages that have suites for real servers.
SUITES = $(shell grep -rl '^//go:build integration' --include='*_test.go' . | xargs -n1 dirname | sort -u)
# Further arguments of go test, for example ARGS='-run Sentinel -v'.
ARGS ?=

# Tests that `make integration` leaves out: those that have a target of their own.
SKIP ?= ^TestStorm$$

# The race detector, which needs a C compiler; RACE= leaves it out, which makes tests and suites three
# times as fast.
RACE ?= $(if $(shell command -v $${CC:-cc} gcc clang),-race)

# How many random cases a property is tried on. Vet is left to the linters, which have all of it.
CHECKS ?= 25

.PHONY: help
help: ## This list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## The sluice command, as ./sluice.
	$(GO) build -o sluice ./cmd/sluice

.PHONY: test
test: ## All tests that need only Go; CHECKS=100 is CI's.
	RAPID_CHECKS=$(CHECKS) $(GO) test $(RACE) -vet=off $(ARGS) ./...

.PHONY: integration
integration: ## The suites against real servers; fails if there are none. See package integration.
	@report=$$(mktemp); status=0; \
	SLUICE_TEST_REPORT=$$report $(GO) test $(RACE) -tags integration -count=1 -timeout 40m -parallel 4 -skip '$(SKIP)' $(ARGS) $(SUITES) || status=$$?; \
	echo "packages by the servers they used:"; sort "$$report" | uniq -c; rm -f "$$report"; \
	exit $$status

.PHONY: storm
storm: ## The long run on real servers: 200 faults, half an hour and more; SLUICE_TEST_SCALE=0.1 is CI's.
	$(GO) test -tags integration -count=1 -timeout 3h -v -run '^TestStorm$$' $(ARGS) ./integration/suites

.PHONY: modules
modules: ## What the command is built from has no Docker client; only the suites do.
	@found=$$($(GO) list -deps ./cmd/sluice | grep -i docker) || exit 0; \
	echo "cmd/sluice must not depend on"; echo "$$found"; exit 1

.PHONY: lint
lint: ## The linters of .golangci.yml.
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...

.PHONY: vuln
vuln: ## Known vulnerabilities in what the code calls; needs the public database.
	$(GOVULNCHECK) ./...

.PHONY: fmt
fmt: ## Format the code.
	$(GOFUMPT) -w .

.PHONY: bench
bench: ## Sluice and its alternatives side by side, on real servers.
	$(GO) run ./cmd/sluice bench $(ARGS)
