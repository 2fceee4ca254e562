#!/usr/bin/env bash
# Fetches the AWS SDKs that the tests push with (JavaScript v3, Java v1 and v2) into FOLDER, unless they are there, and compiles the
# program that uses the Java ones. Needs: npm, Java 17 or newer, Maven; what is missing is left out.
#   dev/install_aws_sdks.sh FOLDER     prints the folder, with node_modules/ and java/
set -euo pipefail
sources="$(cd "$(dirname "${BASH_SOURCE[0]}")/../crates/forebay/tests/it/aws_sdks" && pwd)"
wanted=$(cat "$sources/package.json" "$sources/pom.xml" "$sources/Pushes.java" | sha256sum | cut -c1-16)
sdks="$1/aws-sdks-$wanted"
has() { command -v "$1" >/dev/null; }
if [ ! -e "$sdks/.complete" ]; then
    rm -rf "$sdks" && mkdir -p "$sdks/java"
    if has npm; then
        cp "$sources/package.json" "$sdks"
        npm install --silent --no-audit --no-fund --prefix "$sdks" >"$sdks/npm.log" 2>&1 || { tail -20 "$sdks/npm.log" >&2; exit 1; }
    fi
    if has mvn && has javac; then
        mvn -q -B -f "$sources/pom.xml" dependency:copy-dependencies -DoutputDirectory="$sdks/java" \
            >"$sdks/mvn.log" 2>&1 || { tail -20 "$sdks/mvn.log" >&2; exit 1; }
        javac -proc:none -cp "$sdks/java/*" -d "$sdks/java" "$sources/Pushes.java"
    fi
    touch "$sdks/.complete"
fi
echo "$sdks"
