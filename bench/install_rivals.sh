#!/usr/bin/env bash
# Fetches Flink 2.1 and Kafka Connect, each with Iceberg's sink, into FOLDER, unless they are there. Needs: Python 3, Java 17, Maven.
#   bench/install_rivals.sh FOLDER PYTHON
set -euo pipefail
folder="$1" python="$2"
flink=2.1.3 iceberg=1.11.0 kafka=4.3.1 hadoop=3.4.2

# jars FOLDER GROUP:ARTIFACT:VERSION...     a trailing ! takes that jar alone
jars() {
    local to="$1" one alone group artifact version; shift
    mkdir -p "$to"
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>forebay</groupId><artifactId>rivals</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
        for one in "$@"; do
            alone=; [ "${one%!}" = "$one" ] || { alone='<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>'; one="${one%!}"; }
            IFS=: read -r group artifact version <<<"$one"
            echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version>$alone</dependency>"
        done
        echo '</dependencies></project>'
    } > "$to/pom.xml"
    mvn -q -B -f "$to/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$to" > "$to/mvn.log" 2>&1 ||
        { tail -20 "$to/mvn.log" >&2; return 1; }
}
logging=(org.apache.logging.log4j:log4j-slf4j-impl:2.25.1 org.apache.logging.log4j:log4j-core:2.25.1)
client=(org.apache.hadoop:hadoop-client-api:$hadoop org.apache.hadoop:hadoop-client-runtime:$hadoop)

if [ ! -e "$folder/flink-$flink/.complete" ]; then
    to="$folder/flink-$flink"; rm -rf "$to"; mkdir -p "$to"
    # Flink's own jars come in a package for Python.
    "$python" -m pip download -q --no-deps -d "$to" "apache-flink-libraries==$flink"
    tar xzf "$to"/apache_flink_libraries-*.tar.gz -C "$to" --strip-components=2 --wildcards '*/deps/lib/*.jar' '*/deps/opt/*.jar'
    rm "$to"/apache_flink_libraries-*.tar.gz
    jars "$to/ext" "org.apache.iceberg:iceberg-flink-runtime-${flink%.*}:$iceberg!" org.apache.flink:flink-sql-connector-kafka:4.0.1-2.0! \
        "org.apache.flink:flink-sql-gateway:$flink!" "${client[@]}"
    touch "$to/.complete"
fi
if [ ! -e "$folder/connect-$kafka/.complete" ]; then
    to="$folder/connect-$kafka"; rm -rf "$to"
    jars "$to/worker" "org.apache.kafka:connect-runtime:$kafka" "org.apache.kafka:connect-json:$kafka" "org.apache.kafka:connect-transforms:$kafka" "${logging[@]}"
    jars "$to/plugins/iceberg" "org.apache.iceberg:iceberg-kafka-connect:$iceberg" "org.apache.iceberg:iceberg-parquet:$iceberg" \
        "org.apache.iceberg:iceberg-orc:$iceberg" "${client[@]}"
    rm -f "$to"/plugins/iceberg/{kafka-clients,connect-api,connect-json,slf4j-api}-*.jar # the worker brings them
    touch "$to/.complete"
fi
