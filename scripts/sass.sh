#!/usr/bin/env bash
# Shows what the chip will run of one kernel: registers, shared memory, spills, then the SASS. The kernel's sources are
# compiled if they have changed. Usage: scripts/sass.sh <kernel> [<arch of the chip>], for example rms_norm sm_90a.
set -euo pipefail

kernel=${1:?usage: scripts/sass.sh <kernel> [<arch of the chip>]}
chip=${2:-sm_90}
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$("$top/scripts/fetch-nvidia-tools.sh")
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

ptx=$folder/kernels.ptx
(cd "$top" && cargo run --quiet -p cuda_builder -- text gpu-kernels "$chip") >"$ptx"
"$tools/ptxas" -v -arch="$chip" "$ptx" -o "$folder/kernels.cubin" 2>&1 |
    grep -A 3 -F "Compiling entry function '$kernel'" | grep -E 'Compiling|Used|spill' ||
    { echo "[ERROR] sass: gpu-kernels has no kernel $kernel" >&2; exit 1; }
# Behind each instruction stands its encoding, which nobody reads.
"$tools/cuobjdump" --dump-sass --function "$kernel" "$folder/kernels.cubin" |
    sed -nE 's#^\s*(/\*[0-9a-f]{4}\*/.*;)\s*/\* 0x.*#\1#p; s#^\s*(\.L_.*:)#\1#p'
