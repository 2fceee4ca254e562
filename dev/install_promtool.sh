#!/usr/bin/env bash
# Puts promtool, which the tests check /metrics with, into FOLDER/bin, unless it is there. Needs: apt, or Go.
#   dev/install_promtool.sh FOLDER     prints the path of the program
# From the package of the distribution, unpacked and not installed; where there is none, built from source (minutes).
set -euo pipefail
folder="$1"
version=v0.54.1
program="$folder/bin/promtool"
if [ ! -x "$program" ]; then
    mkdir -p "$folder/bin"
    log="$folder/promtool.log" part="$folder/promtool.part"
    rm -rf "$part" && mkdir "$part"
    if command -v apt-get >/dev/null && (cd "$part" && apt-get -q download prometheus && dpkg-deb -x prometheus_*.deb .) >"$log" 2>&1; then
        mv "$part/usr/bin/promtool" "$program"
    else
        command -v go >/dev/null || { tail -5 "$log" >&2; echo "promtool is neither in apt nor can it be built: install Go 1.24 or newer" >&2; exit 1; }
        export GOPATH="$folder/go" GOMODCACHE="$folder/go/mod" GOCACHE="$folder/go/cache" GOBIN="$folder/go/bin" CGO_ENABLED=0
        go install -ldflags='-s -w' "github.com/prometheus/prometheus/cmd/promtool@$version" >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
        mv "$GOBIN/promtool" "$program"
        go clean -modcache -cache
        rm -rf "$folder/go"
    fi
    rm -rf "$part" "$log"
fi
echo "$program"
