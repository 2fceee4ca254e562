#!/usr/bin/env bash
# Builds Forebay and the load generator for release and measures HTTP push. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/forebay"
folder="${1:-$cache/bench}/push"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
cargo build --locked --release --workspace --bin forebay --example push_load
python3 bench/push.py "$folder" "$CARGO_TARGET_DIR/release/forebay" "$CARGO_TARGET_DIR/release/examples/push_load" "${@:2}"
