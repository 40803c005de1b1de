# Everything that a developer or CI does here. `make` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

step := .ci/step
tools := go tool -modfile=.ci/tools/go.mod

# pg_query_go compiles PostgreSQL's parser, which is C.
export CGO_ENABLED := 1

# For the caller: make test PACKAGES=./protocols/... TESTFLAGS='-run TestX -count=1'.
TESTFLAGS ?=
# make bench BENCHFLAGS=-quick
BENCHFLAGS ?=
PACKAGES ?= ./...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/sallyport
	@$(step) "build bin/sallyport" go build -trimpath -o bin/sallyport ./cmd/sallyport

.PHONY: demo
demo: setup build ## a throwaway PostgreSQL and MariaDB with a sample shop behind the proxy
	@bin/sallyport demo

.PHONY: test
test: setup-tests ## all tests, with the race detector, against real servers
	@go test -race -parallel 4 -timeout 60m $(TESTFLAGS) $(PACKAGES)

.PHONY: bench
bench: setup-tests build ## Sallyport beside PgBouncer, HAProxy, nginx and a direct connection
	@$(step) "build bin/bench" go build -trimpath -o bin/bench ./bench
	@bin/bench $(BENCHFLAGS)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@$(step) "gofmt" .ci/gofmt
	@$(step) "go vet" go vet ./...
	@$(step) "staticcheck" $(tools) staticcheck ./...

.PHONY: check-policies
check-policies: build ## what docs/ci.md says of policies, on the demo's recorded sessions
	@$(step) "policies" .ci/check-policies

.PHONY: setup
setup: ## install what the demo needs
	@.ci/setup demo

.PHONY: setup-tests
setup-tests: ## install what the tests need
	@.ci/setup tests

.PHONY: clean
clean: ## remove what was built and what the demo left
	@rm -rf bin var
