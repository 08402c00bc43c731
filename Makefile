# The two commands most people need: `make run` and `make test`.

# The development build compiles several times faster than the optimised one and runs the same code, with
# hashing and storage optimised. `make run PROFILE=release` builds what one would install.
PROFILE ?= dev
DATA_DIR ?= ./muster-data
CARGO ?= cargo
# How long each target of `make fuzz` runs, and which.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= csr svid chain pem join_link journal_line record settings http2_frames certificate_header \
	trust_updates trust_file change_frame

.PHONY: run test test-web test-use test-crash lint bench fuzz regenerate help

help:
	@echo "make run    build muster and start a demo server on this machine, data in $(DATA_DIR)"
	@echo "make test   install what the tests need and run every test, those in a browser last"
	@echo "make test-use  the pages of docs/use/ whose programs not everybody has, Debian's packages and NATS, and SPIRE's agent"
	@echo "make test-crash  a server that is killed 1,000 times under load, against what it had answered"
	@echo "make lint   formatting, clippy, licences and sources of dependencies, systemd units"
	@echo "make bench  the benchmarks, last the table of docs/performance.md, which \`cargo bench --bench table\` prints alone"
	@echo "make fuzz   every fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS)), with a nightly compiler and cargo-fuzz"
	@echo "make regenerate  everything that is generated and checked in: protobuf code, the API's document, its types"

run:
	$(CARGO) run --locked --profile $(PROFILE) --bin muster -- quickstart --data-dir $(DATA_DIR)

test:
	.ci/prepare
	$(CARGO) test --locked
	$(MAKE) test-web

# The web UI: types, lint and layout of its source, then every flow in a browser against the real binary.
test-web:
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	cd web && npm run check
	$(CARGO) build --locked --bin muster
	cd web && npm run e2e

# The pages of docs/use/ that tell of message brokers, databases and tunnels, at the real programs; SPIRE's commands for
# workloads at our agent.
test-use:
	.ci/prepare-use
	$(CARGO) test --locked --test muster -- --ignored use_pages::more spire_agent replica_s3 promtool

# The longer run of what the tests do a few times: MUSTER_KILL_CYCLES and PROPTEST_CASES ask for more or fewer.
test-crash:
	$(CARGO) test --locked --test muster -- --ignored --nocapture kill_cycles
	PROPTEST_CASES=$${PROPTEST_CASES:-1500} $(CARGO) test --locked --lib lost_writes

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then \
		$(CARGO) deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and sources of dependencies were not checked"; fi
	@if command -v systemd-analyze >/dev/null; then .ci/check-units; \
	else echo "systemd-analyze is not installed: the units were not checked"; fi

# Each is named so that the table comes last.
bench:
	$(CARGO) bench --locked --bench commit_modes --bench fleet --bench wire --bench storms
	$(CARGO) bench --locked --bench table

# New inputs go to fuzz/corpus, which is not checked in; what breaks something becomes a test.
fuzz:
	@command -v cargo-fuzz >/dev/null || { echo "install it with: cargo install --locked cargo-fuzz" >&2; exit 1; }
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target && \
		MUSTER_SKIP_WEB=1 $(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target tests/specimens/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 || exit 1; \
	done

# The tests that compare what is checked in with what it is made from write it instead. The types come last, because
# they are made from the document.
regenerate:
	MUSTER_REGENERATE=1 $(CARGO) test --locked --lib generated_code_is_current
	MUSTER_REGENERATE=1 $(CARGO) test --locked --test muster the_web_ui_was_made_for_the_document
	test -d web/node_modules || npm --prefix web ci --ignore-scripts --no-audit --no-fund
	npm --prefix web run schema
