# Each target is a line or two over cargo and scripts/.
export CARGO_BUILD_JOBS ?= 2

.PHONY: run test test-serve check bench benchmarks docs ptx sass gpu-bundle

# Builds, then generates from the demo model.
run:
	cargo run --release -- --model models/storyteller --prompt "Once upon a time"

# The whole suite; it needs no GPU.
test:
	cargo test --workspace

# The server: 2 000 requests of all kinds twice, and the clients that people use, which are installed into target/;
# its page in Chromium.
test-serve:
	NEMOTRON_SOAK=2000 cargo test --test serve
	tests/serve/clients.sh --all
	tests/serve/page.sh

# Formatting, lints, docs. The files of single kernels are named by a macro, where cargo fmt does not look.
check:
	cargo fmt --all --check
	rustfmt --check --edition 2024 $$(git ls-files 'gpu-kernels/src/*.rs' 'backend/src/cpu/*.rs' 'tests/kernels/*.rs')
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Throughput of the CPU's product and of the emulator.
bench:
	cargo bench --workspace

# README's table and the plot, from benches/results.
benchmarks:
	NEMOTRON_RENDER=1 cargo test --quiet --test benchmarks

# docs/cli.md, from what the commands say of themselves.
docs:
	NEMOTRON_RENDER=1 cargo test --quiet --test cli docs

# Compiles the kernels and replaces the PTX that the repository ships.
ptx:
	cargo run --quiet -p cuda_builder -- refresh gpu-kernels rust-cuda/cuda_builder/tests/collectives

# What the chip runs of one kernel: make sass KERNEL=rms_norm [ARCH=sm_90]
sass:
	scripts/sass.sh $(KERNEL) $(ARCH)

# Everything that a machine without Rust needs to run the tests on a GPU, in target/gpu-bundle.
gpu-bundle:
	scripts/gpu-bundle.sh
