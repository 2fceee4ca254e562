#!/usr/bin/env bash
# Fetches the Kafka broker that the tests run against into FOLDER, unless it is there. Needs: Java 17 or newer, Maven.
#   dev/install_kafka.sh FOLDER     prints the folder of its jars
set -euo pipefail
folder="$1"
version=4.3.1
jars="$folder/kafka-$version"
if [ ! -e "$jars/.complete" ]; then
    for program in java mvn; do
        command -v "$program" >/dev/null || { echo "the Kafka broker of the tests needs Java 17 and Maven: install $program" >&2; exit 1; }
    done
    rm -rf "$jars" && mkdir -p "$jars"
    dependency() { echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"; }
    cat > "$jars/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>forebay</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
$(dependency org.apache.kafka kafka_2.13 $version)
$(dependency org.apache.kafka kafka-tools $version)
$(dependency org.apache.logging.log4j log4j-slf4j-impl 2.25.1)
$(dependency org.apache.logging.log4j log4j-core 2.25.1)
</dependencies></project>
POM
    mvn -q -B -f "$jars/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" \
        >"$jars/mvn.log" 2>&1 || { tail -20 "$jars/mvn.log" >&2; exit 1; }
    touch "$jars/.complete"
fi
echo "$jars"
