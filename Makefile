# The commands of twinwall. Everything that must be installed is installed by `make setup`, which the others run first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export MAKECMDGOALS

.PHONY: help setup demo test soak fuzz bench compare bare docker-failover

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: ## Install what is missing (Debian packages, Rust, cargo-nextest); nothing else ever does
	@tests/bin/setup test

demo: ## See it work: client - twinwall - server in network namespaces, with ping, traceroute, iperf3, HTTP (root)
	@tests/bin/setup run && tests/bin/demo

test: ## Run every test, those in network namespaces too (root); T=name runs the tests whose name contains it
	@tests/bin/setup test && tests/bin/test $(T)

soak: ## Throw random faults at simulated clusters of nodes; S=100000 for so many schedules (20000)
	@tests/bin/setup test && tests/bin/soak $(S)

fuzz: ## Fuzz the parsers for a bounded time; S=60 for a minute each
	@tests/bin/setup fuzz && tests/bin/fuzz $(S)

bench: ## Run the benchmarks
	@tests/bin/setup test && tests/bin/bench

compare: ## Cut a node off under a flood of new flows, beside Linux with conntrackd (root); R="10000 50000" flows a second
	@tests/bin/setup compare && tests/bin/compare $(R)

bare: ## Prove `make demo` and `make test` in a fresh Debian container with nothing pre-installed (root, docker)
	@docker/bare-check.sh

docker-failover: ## Two nodes in containers behind a real Open vSwitch: kill one, every connection lives on (root, docker)
	@tests/bin/setup docker && docker/failover
