#!/usr/bin/env bash
# Builds the S3 server that the tests run against into FOLDER/bin, unless it is there. Needs: Go.
#   dev/install_s3_server.sh FOLDER     prints the path of the program
# versitygw (Apache-2.0) keeps objects as files, and its conditional PUT is atomic.
set -euo pipefail
folder="$1"
version=v1.8.0
program="$folder/bin/versitygw-$version"
if [ ! -x "$program" ]; then
    command -v go >/dev/null || { echo "the S3 server of the tests is built with Go: install Go 1.24 or newer" >&2; exit 1; }
    export GOPATH="$folder/go" GOMODCACHE="$folder/go/mod" GOCACHE="$folder/go/cache" GOBIN="$folder/go/bin" GOTOOLCHAIN=local CGO_ENABLED=0
    log="$folder/versitygw.log"
    mkdir -p "$folder/bin"
    go install -ldflags='-s -w' "github.com/versity/versitygw/cmd/versitygw@$version" >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
    mv "$GOBIN/versitygw" "$program"
    go clean -modcache -cache
    rm -rf "$folder/go" "$log"
fi
echo "$program"
