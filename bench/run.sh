#!/usr/bin/env bash
# Builds Forebay for release, makes the data, and prints it beside its peers. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/forebay"
folder="${1:-$cache/bench}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
python="$cache/venv/bin/python"
[ -x "$python" ] || { echo "run ./test.sh first: it installs the peers" >&2; exit 2; }
cargo build --locked --release --package forebay
"$python" bench/make_data.py "$folder"
"$python" bench/compare.py "$folder" "$CARGO_TARGET_DIR/release/forebay" "${@:2}"
