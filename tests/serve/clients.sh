#!/usr/bin/env bash
# Talks to `nemotron serve` with the clients that people use, of pinned versions, in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${NEMOTRON_CLIENTS_VENV:-target/clients-venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/serve/clients.txt
binary=${NEMOTRON_BINARY:-target/release/nemotron}
export LITELLM_LOCAL_MODEL_COST_MAP=True
exec "$venv/bin/python" tests/serve/clients.py "$binary"
