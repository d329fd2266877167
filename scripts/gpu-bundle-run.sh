#!/usr/bin/env bash
# Runs everything in this folder on the first GPU and ends with one table. Needs NVIDIA's driver and cuBLAS, no Rust.
# With --sanitize the kernels' rows and the golden checkpoints also run in check mode under compute-sanitizer.
set -uo pipefail
cd "$(dirname "$0")"

table=()
failed=0

# Runs a command and keeps a row: its name, how it ended, how long it took, and its line that matters.
row() {
    local name=$1 pattern=$2 start output status word
    shift 2
    echo "== $name"
    start=$(date +%s.%N)
    output=$("$@" 2>&1)
    status=$?
    echo "$output"
    word=ok
    if [ $status -ne 0 ]; then
        word=FAILED
        failed=$((failed + 1))
    fi
    local seconds matters
    seconds=$(echo "$(date +%s.%N) $start" | awk '{ printf "%.2f", $1 - $2 }')
    matters=$(echo "$output" | grep -E "$pattern" | tail -1)
    table+=("$(printf '%-6s  %7s s  %-28s  %s' "$word" "$seconds" "$name" "$matters")")
}

row devices 'Total Memory' ./nemotron devices
row linked 'libc.so' ldd ./nemotron
row gpu 'rows, ' ./gpu
row generate 'Speed' ./nemotron generate --device 0 --model models/storyteller --prompt 'Once upon a time' --verbose
row generate-again 'Load time' ./nemotron generate --device 0 --model models/storyteller --prompt 'Once upon a time'
row bench 'decode ' ./nemotron bench --device 0 --model models/storyteller --generate 16
row bench-kernels 'in all' ./nemotron bench kernels --device 0 --model models/storyteller
for expected in tests/golden/*/expected.safetensors; do
    model=$(dirname "$expected")
    row "verify $(basename "$model")" ' ok$|OUTSIDE|ERROR' ./nemotron verify --device 0 --model "$model" --expected "$expected"
done
if [ "${1:-}" = --sanitize ]; then
    for tool in memcheck racecheck; do
        row "$tool kernels" 'SUMMARY' compute-sanitizer --tool "$tool" --error-exitcode 9 ./gpu kernel:
        for expected in tests/golden/*/expected.safetensors; do
            model=$(dirname "$expected")
            NEMOTRON_CUDA_CHECK=1 row "$tool $(basename "$model")" 'SUMMARY' compute-sanitizer --tool "$tool" \
                --error-exitcode 9 ./nemotron verify --device 0 --model "$model" --expected "$expected"
        done
    done
fi

echo
printf '%s\n' "${table[@]}"
echo "${#table[@]} programs, $failed failed"
[ "$failed" -eq 0 ]
