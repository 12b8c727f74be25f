# The words of this project; `make` alone lists them.

FUZZ_SECONDS ?= 30
SOAK_SECONDS ?= 600
FUZZ_TARGETS ?= open_bytes operations crashes tool
# The targets reach no unsafe code: without AddressSanitizer they run several times as
# fast. FUZZ_SANITIZER=address turns it on.
FUZZ_SANITIZER ?= none

.PHONY: help setup test lint bench fuzz miri models sanitize soak

help:
	@echo "make test    all tests; installs the Debian packages that they need"
	@echo "make lint    rustfmt, clippy and docs, warnings denied"
	@echo "make bench   criterion benches"
	@echo "make fuzz    each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make miri    the core under an interpreter, on three kinds of machine"
	@echo "make sanitize  the tests under AddressSanitizer and ThreadSanitizer"
	@echo "make models  the lock-free reader under loom and shuttle"
	@echo "make soak    the crash simulation for SOAK_SECONDS=$(SOAK_SECONDS)"
	@echo "make setup   only installs what 'make test' needs"

# The web tests run lighttpd with a configuration of their own.
setup:
	@if [ -x /usr/sbin/lighttpd ]; then \
	    echo "lighttpd is installed: the tests need no other package"; \
	elif [ "$$(id -u)" = 0 ]; then \
	    echo "installing the Debian package that the tests need: lighttpd"; \
	    echo "(Debian may start it: 'systemctl disable --now lighttpd' stops that)"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends lighttpd; \
	else \
	    echo "the tests need lighttpd; install it: sudo apt-get install lighttpd" >&2; \
	    exit 1; \
	fi

# The second command runs what the first one names as ignored, with the examples
# that the first one built.
test: setup
	cargo test
	cargo test --test web -- --ignored --nocapture --test-threads=1

lint:
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check --manifest-path miri/Cargo.toml
	cargo fmt --check --manifest-path models/Cargo.toml
	cargo clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

bench:
	cargo bench --bench '*'

fuzz: $(FUZZ_TARGETS:%=fuzz-%)

# Begins with the kept inputs in fuzz/seeds; what is new goes to fuzz/corpus. Ends with
# the number of executions.
fuzz-%:
	@cargo fuzz --version || cargo install --locked cargo-fuzz
	@mkdir -p fuzz/corpus/$*
	env -u MAKEFLAGS cargo +nightly fuzz run -s $(FUZZ_SANITIZER) $* \
	    fuzz/corpus/$* fuzz/seeds/$* -- -max_total_time=$(FUZZ_SECONDS) \
	    -len_control=0 -max_len=400 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
	    2>&1 | awk '/stat::number_of_executed/ { n = $$2 } \
	    /^SUMMARY:|ERROR:|panicked/ { bad = 1 } { print } \
	    END { print "$*: " n " executions"; exit bad || n == "" }'

# Makes the kept inputs of a target as few as reach the same code.
minimise-%:
	mkdir -p fuzz/corpus/$* fuzz/minimal/$*
	cargo +nightly fuzz run -s none $* fuzz/minimal/$* fuzz/seeds/$* fuzz/corpus/$* -- -set_cover_merge=1
	rm -r fuzz/seeds/$* && mv fuzz/minimal/$* fuzz/seeds/$*

# Prints the executions and schedules of each scene. CLOAKROOM_MODELS_LONG=1 goes
# further; CLOAKROOM_SEED=n repeats what shuttle printed.
models:
	cargo test --release --manifest-path models/Cargo.toml -- --nocapture

# Files, maps and forks are not run there: it has no such maps, and see `sanitize`.
miri:
	scripts/miri

sanitize:
	scripts/sanitize

soak:
	CLOAKROOM_SOAK_SECONDS=$(SOAK_SECONDS) cargo test --release --test crash
