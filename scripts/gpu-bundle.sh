#!/usr/bin/env bash
# Packs what a machine with a GPU and without Rust needs into target/gpu-bundle: the command, the GPU test program, the
# small models, benches/peers for a comparison, and run.sh, which runs all but that. Copy the folder anywhere.
set -euo pipefail
cd "$(dirname "$0")/.."

bundle=target/gpu-bundle
most_bytes=$((96 << 20))

# The paths of the programs that cargo has just built, by the name of their target.
built() {
    cargo build --release --package nemotron --bin nemotron --test gpu --message-format=json |
        sed -n 's/.*"name":"\(nemotron\|gpu\)".*"executable":"\([^"]*\)".*/\1 \2/p'
}

rm -rf "$bundle"
mkdir -p "$bundle/models" "$bundle/tests"
built | while read -r name program; do
    strip -o "$bundle/$name" "$program"
done
cp -r models/storyteller "$bundle/models/"
cp -r tests/golden "$bundle/tests/"
mkdir -p "$bundle/benches/peers"
cp benches/peers/*.py "$bundle/benches/peers/"
cp scripts/gpu-bundle-run.sh "$bundle/run.sh"

bytes=$(du -sb "$bundle" | cut -f1)
echo "$bundle: $((bytes >> 20)) MB"
if [ "$bytes" -gt "$most_bytes" ]; then
    echo "the bundle is larger than $((most_bytes >> 20)) MB" >&2
    exit 1
fi
