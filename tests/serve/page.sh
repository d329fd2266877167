#!/usr/bin/env bash
# The page of `nemotron serve` in headless Chromium: page.sh [SCREENSHOTS]. On Debian: apt-get install chromium chromium-driver npm.
# NEMOTRON names a program that is built already, from the repository's root on.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in chromium chromedriver npm; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is not on the path; on Debian: apt-get install chromium chromium-driver npm" >&2
        exit 1
    fi
done
venv=target/serve-page-venv
if ! [ -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/serve/requirements-page.txt
npm install --silent --no-save --no-package-lock --ignore-scripts --prefix target/axe axe-core@4.14.1
if [ -z "${NEMOTRON:-}" ]; then
    cargo build --quiet --release
fi
"$venv/bin/python" tests/serve/page.py --nemotron "${NEMOTRON:-target/release/nemotron}" --model models/storyteller \
    --axe target/axe/node_modules/axe-core/axe.min.js ${1:+--screenshots "$1"}
