#!/usr/bin/env bash
# Fetches the schema registry that the tests run against (Apicurio Registry) into FOLDER, unless it is there. Needs: Java 17 or
# newer, Maven.
#   dev/install_registry.sh FOLDER     prints the folder with its registry.jar
set -euo pipefail
folder="$1"
# The last version that runs on Java 17.
version=2.6.13.Final
registry="$folder/apicurio-$version"
if [ ! -e "$registry/.complete" ]; then
    for program in java mvn; do
        command -v "$program" >/dev/null || { echo "the schema registry of the tests needs Java 17 and Maven: install $program" >&2; exit 1; }
    done
    rm -rf "$registry" && mkdir -p "$registry"
    archive="apicurio-registry-app-$version"
    mvn -q -B dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -DoutputDirectory="$registry" \
        >"$registry/mvn.log" 2>&1 || { tail -20 "$registry/mvn.log" >&2; exit 1; }
    tar xzf "$registry/$archive-all.tar.gz" -C "$registry"
    rm "$registry/$archive-all.tar.gz"
    mv "$registry/$archive-runner.jar" "$registry/registry.jar"
    touch "$registry/.complete"
fi
echo "$registry"
