# The words of this project; `make` alone lists them.

FUZZ_SECONDS ?= 30
POWER_CUTS ?= 2000
KILLS ?= 5000
KILL_STRIDE ?= 29
FUZZ_TARGETS ?= operations tampered crashes dump restore open_bytes
# The targets reach no unsafe code: without AddressSanitizer they run several times as
# fast. FUZZ_SANITIZER=address turns it on.
FUZZ_SANITIZER ?= none

.PHONY: help setup test prove power kills lint bench bench-peers instructions fuzz miri models sanitize soak

help:
	@echo "make test    all tests; installs the Debian packages that they need"
	@echo "make prove   every harness against loss, and a table of what was reached"
	@echo "make power   POWER_CUTS=$(POWER_CUTS) power cuts of real file systems; root"
	@echo "make kills   KILLS=$(KILLS) random kills, and at every system call"
	@echo "make lint    rustfmt, clippy and docs, warnings denied"
	@echo "make bench   criterion benches"
	@echo "make instructions  of an operation, beside the figures kept; needs valgrind"
	@echo "make bench-peers  beside other stores; writes BENCHMARKS.md and its plots"
	@echo "make fuzz    each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make miri    the core under an interpreter, on three kinds of machine"
	@echo "make sanitize  the tests under AddressSanitizer and ThreadSanitizer"
	@echo "make models  the lock-free reader under loom and shuttle"
	@echo "make soak    what make prove does, for some three hours; PROVE=--from=HARNESS goes on"
	@echo "make setup   only installs what 'make test' needs"

# The web tests run lighttpd with a configuration of their own; strace lets system
# calls of the tool fail; the others make file systems to fill and to cut off.
PACKAGES = lighttpd strace e2fsprogs xfsprogs btrfs-progs
setup:
	@missing=; for tool in lighttpd strace mkfs.ext4 mkfs.xfs mkfs.btrfs; do \
	    [ -x /usr/sbin/$$tool ] || [ -x /sbin/$$tool ] || command -v $$tool >/dev/null || \
	        missing="$$missing $$tool"; \
	done; \
	if [ -z "$$missing" ]; then \
	    echo "installed already: $(PACKAGES)"; \
	elif [ "$$(id -u)" = 0 ]; then \
	    echo "installing the Debian packages that the tests need: $(PACKAGES)"; \
	    echo "(Debian may start lighttpd: 'systemctl disable --now lighttpd' stops that)"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends $(PACKAGES); \
	else \
	    echo "the tests need: sudo apt-get install $(PACKAGES)" >&2; \
	    exit 1; \
	fi

# The second command runs what the first one names as ignored, with the examples
# that the first one built. The others run what needs the feature sqlite.
test: setup
	cargo test
	cargo test --test web -- --ignored --nocapture --test-threads=1
	cargo test --features sqlite --test session
	cargo test --features sqlite --lib session::
	cargo test --features sqlite --doc session::

# The table is printed; PROVE=--write puts it into tests/README.md.
prove: setup
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/prove $(PROVE)

power: setup
	CLOAKROOM_POWER_CUTS=$(POWER_CUTS) cargo test --release --test power

kills:
	CLOAKROOM_KILLS=$(KILLS) CLOAKROOM_KILL_CALLS=1 CLOAKROOM_KILL_STRIDE=$(KILL_STRIDE) \
	    cargo test --release --test kills

lint:
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check --manifest-path miri/Cargo.toml
	cargo fmt --check --manifest-path models/Cargo.toml
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	cargo clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

bench:
	cargo bench --bench '*'

# KEEP=--keep writes the figures of this run into benches/instructions/kept.txt.
instructions:
	@if [ ! -x /usr/bin/valgrind ] && [ "$$(id -u)" = 0 ]; then \
	    echo "installing the Debian package valgrind"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends valgrind; \
	fi
	cargo bench --bench instructions -- $(KEEP)

# The stores come from Debian where the bench does not build them itself; what is
# missing is said to be "not run" and left out.
PEER_PACKAGES = redis-server libtdb1 libgdbm6 libtkrzw1
bench-peers:
	@missing=$$(for package in $(PEER_PACKAGES); do \
	    dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then \
	    echo "installing the Debian packages of other stores:" $$missing; \
	    export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
	    for package in $$missing; do \
	        apt-get install -qq -y --no-install-recommends $$package || \
	            echo "not run: what needs $$package, which cannot be installed"; \
	    done; \
	elif [ -n "$$missing" ]; then \
	    echo "not run without: sudo apt-get install" $$missing; \
	fi
	cargo run --release --manifest-path benches/peers/Cargo.toml -- $(WORKS)

fuzz: $(FUZZ_TARGETS:%=fuzz-%)

# Begins with the kept inputs in fuzz/seeds; what is new goes to fuzz/corpus. Ends with
# the number of executions.
fuzz-%:
	@cargo fuzz --version || cargo install --locked cargo-fuzz
	@mkdir -p fuzz/corpus/$*
	env -u MAKEFLAGS cargo +nightly fuzz run -s $(FUZZ_SANITIZER) --no-trace-compares $* \
	    fuzz/corpus/$* fuzz/seeds/$* -- -max_total_time=$(FUZZ_SECONDS) \
	    $(if $(filter dump restore,$*),-dict=$(CURDIR)/fuzz/text.dict) \
	    -len_control=0 -max_len=400 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
	    2>&1 | awk '/stat::number_of_executed/ { n = $$2 } \
	    /^SUMMARY:|ERROR:|panicked/ { bad = 1 } { print } \
	    END { print "reached: fuzz executions = " n; \
	    print "reached: executions of $* = " n; exit bad || n == "" }'

# Makes the kept inputs of a target as few as reach the same code.
minimise-%:
	mkdir -p fuzz/corpus/$* fuzz/minimal/$*
	cargo +nightly fuzz run -s none --no-trace-compares $* \
	    fuzz/minimal/$* fuzz/seeds/$* fuzz/corpus/$* -- -set_cover_merge=1 -use_counters=0
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

soak: setup
	scripts/prove --soak $(PROVE)
