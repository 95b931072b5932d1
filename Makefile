# The front door. Each target is a line or two; the work is in scripts/ and in the `cairn` command.
.PHONY: help run test fuzz chaos rolling watch runtime openapi lint bench eval curve

# The release before this one: `make rolling PREVIOUS=<ref>` takes another.
PREVIOUS ?= 6599f56

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

run: runtime ## Run the server, with everything it needs, in this folder.
	cargo run --release --bin cairn -- serve

test: runtime ## Run all tests, against a Postgres of their own, and 2,000 made-up requests.
	scripts/test

MINUTES ?= 10
fuzz: runtime ## Feed every parser for MINUTES=10 each, then ask a server 100,000 things.
	scripts/fuzz $(MINUTES)

chaos: runtime ## Break everything under load for MINUTES=10, then each guard; kill 100 times; prints figures.
	CAIRN_CHAOS_MINUTES=$(MINUTES) cargo test --features sabotage --test chaos -- --ignored --nocapture --exact runs::no_schedule_of_faults_makes_an_answer_stale
	cargo test --features sabotage --test chaos -- --ignored --nocapture --test-threads 1 controls restore
	CAIRN_CHAOS_MINUTES=$(MINUTES) cargo test --test chaos -- --ignored --nocapture --test-threads 1 jobs::
	cargo test --test api -- --ignored --nocapture --test-threads 1 optional::
	cargo test --test embedded -- --ignored --nocapture --exact chaos::no_acknowledged_write_is_lost_to_a_hundred_kills
	cargo test --test api -- --ignored --nocapture --exact faults::a_pool_that_is_full_for_a_minute_starves_nobody_else

rolling: runtime ## Run the previous release and this one side by side on one schema.
	CAIRN_PREVIOUS=$$(scripts/previous-release $(PREVIOUS)) cargo test --test embedded -- --ignored --nocapture --exact rolling::the_previous_release_and_this_one_serve_side_by_side

watch: runtime ## Check metrics, alert rules and dashboard with a Prometheus, where one is installed.
	cargo build --bin cairn
	scripts/check-observability

runtime: ## Fetch Postgres with pgvector, the embedding model, and Redis where none is installed.
	@scripts/fetch-runtime

openapi: ## Write openapi/openapi.json and docs/errors.md anew.
	cargo run --quiet --bin cairn -- openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json
	cargo run --quiet --bin cairn -- openapi --errors > docs/errors.md.new
	mv docs/errors.md.new docs/errors.md

lint: ## Check the format and every lint.
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo fmt --check --manifest-path fuzz/Cargo.toml

bench: ## Micro-benchmarks of what is pure; `cairn bench` measures the rest.
	cargo bench

MEMORIES ?= examples/conversation.jsonl
QUESTIONS ?= examples/questions.jsonl
eval: runtime ## Measure recall on MEMORIES and QUESTIONS, and what each rule of ranking is worth.
	scripts/eval --memories $(MEMORIES) --questions $(QUESTIONS) --ablate

SIZES ?= 1000,10000,100000
AGENTS ?= 1,100
curve: runtime ## Measure what recalls and memories cost at SIZES over AGENTS, and draw docs/performance.svg anew.
	CAIRN_EMBEDDINGS__PROVIDER=hashed cargo run --release --bin cairn -- bench curve --memories $(SIZES) --agents $(AGENTS) --json docs/performance.json --svg docs/performance.svg
