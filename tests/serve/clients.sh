#!/usr/bin/env bash
# Runs published clients against `nemotron serve` and the demo model: clients.sh [--all]. They are installed into target/.
# With --all also: frameworks of agents, published tests of conformance, structured output, lm-eval, a load tool, generated requests, and what HTTP costs. With --install they are only installed.
# NEMOTRON names a program that is built already, from the repository's root on.
set -euo pipefail
cd "$(dirname "$0")/../.."

requirements=tests/serve/requirements.txt
if [ "${1:-}" = --all ]; then requirements=tests/serve/requirements-all.txt; fi
venv=target/serve-venv
if ! [ -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
if [ "${1:-}" = --install ]; then exit; fi
if [ -z "${NEMOTRON:-}" ]; then
    cargo build --quiet --release
fi
of=(--nemotron "${NEMOTRON:-target/release/nemotron}" --model models/storyteller)
"$venv/bin/python" tests/serve/clients.py "${of[@]}" "$@"
if [ "${1:-}" = --all ]; then
    "$venv/bin/python" tests/serve/frameworks.py "${of[@]}"
    if command -v npm > /dev/null; then
        npm install --silent --prefix target/serve-node compatcanary@0.2.2
        canary=(--compatcanary target/serve-node/node_modules/.bin/compatcanary)
    else
        canary=()
        echo "compatcanary is left out: it needs Node.js" >&2
    fi
    "$venv/bin/python" tests/serve/conformance.py "${of[@]}" "${canary[@]}"
    "$venv/bin/python" tests/serve/structured.py "${of[@]}"
    "$venv/bin/python" tests/serve/evaluate.py "${of[@]}"
    # Its versions of others' packages are its own.
    load=target/serve-load-venv
    if ! [ -x "$load/bin/pip" ]; then
        python3 -m venv "$load"
    fi
    "$load/bin/pip" install --quiet --disable-pip-version-check -r tests/serve/requirements-load.txt
    python3 tests/serve/published_load.py "${of[@]}" --aiperf "$load/bin/aiperf"
    "$venv/bin/python" tests/serve/schema.py "${of[@]}"
    "$venv/bin/python" tests/serve/cpu.py "${of[@]}"
fi
