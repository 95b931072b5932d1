# The front door. Each target is a line or two; the work is in scripts/ and in the `cairn` command.
.PHONY: help run test runtime openapi lint bench

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

run: runtime ## Run the server, with everything it needs, in this folder.
	cargo run --release --bin cairn -- serve

test: runtime ## Run all tests, against a Postgres of their own.
	scripts/test

runtime: ## Fetch Postgres with pgvector, the embedding model, and Redis where none is installed.
	@scripts/fetch-runtime

openapi: ## Write openapi/openapi.json anew.
	cargo run --quiet --bin cairn -- openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json

lint: ## Check the format and every lint.
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

bench: ## Micro-benchmarks of what is pure; `cairn bench` measures the rest.
	cargo bench
