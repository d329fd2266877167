#!/usr/bin/env bash
# Puts NVIDIA's assembler and disassembler (ptxas, cuobjdump, nvdisasm), as PyPI carries them, into target/nvidia-tools.
# Development aids: neither building nor running needs them. Prints the folder of the programs.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=$top/target/nvidia-tools
packages=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-cuobjdump==13.5.37 nvidia-cuda-nvdisasm==13.5.37)

if [ ! -x "$dest/bin/ptxas" ] || [ ! -x "$dest/bin/cuobjdump" ] || [ ! -x "$dest/bin/nvdisasm" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dest/packages" "${packages[@]}" >&2 || {
        printf '[ERROR] nvidia-tools: pip could not install %s\nHint: this takes python3 with pip, and a network\n' "${packages[*]}" >&2
        exit 1
    }
    ln -sfn packages/nvidia/cu13/bin "$dest/bin"
fi
echo "$dest/bin"
