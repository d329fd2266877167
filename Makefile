.PHONY: ptx sass

# Compiles the kernels and replaces the PTX that the repository ships.
ptx:
	cargo run --quiet -p cuda_builder -- refresh gpu-kernels rust-cuda/cuda_builder/tests/collectives

# What the chip runs of one kernel: make sass KERNEL=rms_norm [ARCH=sm_90]
sass:
	scripts/sass.sh $(KERNEL) $(ARCH)
