#!/usr/bin/env bash
# Fetches Trino and Spark, each with Iceberg, into FOLDER, unless they are there: for dev/engines/run.py. Needs: Python 3 with pip, Java 17 and Maven.
#   dev/engines/install.sh FOLDER PYTHON
set -euo pipefail
folder="$1" python="$2"
trino=476 spark=4.1.4 iceberg=1.11.0 # the last Trino whose server is published on Maven

artifact() { mvn -q -B dependency:copy -Dartifact="$1" -DoutputDirectory="$2" > "$2/mvn.log" 2>&1 || { tail -20 "$2/mvn.log" >&2; return 1; }; }

if [ ! -e "$folder/trino-$trino/.complete" ]; then
    to="$folder/trino-$trino"; rm -rf "$to"; mkdir -p "$to"
    artifact "io.trino:trino-server:$trino:tar.gz" "$to"
    artifact "io.trino:trino-cli:$trino:jar:executable" "$to"
    tar xzf "$to/trino-server-$trino.tar.gz" -C "$to" --strip-components=1
    # All 55 plugins cost half a minute of start-up.
    find "$to/plugin" -mindepth 1 -maxdepth 1 ! -name iceberg -exec rm -rf {} +
    rm -rf "$to/trino-server-$trino.tar.gz" "$to/secrets-plugin"
    touch "$to/.complete"
fi
if [ ! -e "$folder/spark-$spark/.complete" ]; then
    to="$folder/spark-$spark"; rm -rf "$to"; mkdir -p "$to"
    # The source package holds the jars; unpacking it is quicker than building a wheel of it.
    "$python" -m pip download -q --no-deps --no-build-isolation -d "$to" "pyspark==$spark"
    tar xzf "$to"/pyspark-*.tar.gz -C "$to" --strip-components=1
    rm "$to"/pyspark-*.tar.gz
    for part in jars bin sbin; do ln -s "../deps/$part" "$to/pyspark/$part"; done
    "$python" -m pip install -q --target "$to" "py4j$(sed -n 's|.*py4j\([^"]*\)".*|\1|p' "$to/setup.py" | head -1)"
    artifact "org.apache.iceberg:iceberg-spark-runtime-${spark%.*}_2.13:$iceberg" "$to"
    touch "$to/.complete"
fi
