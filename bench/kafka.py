"""Kafka to committed Iceberg: Forebay beside Flink and Kafka Connect, one broker, the same topics. Counts first.

usage: kafka.py FOLDER TOOLS FOREBAY [--no-rivals] [--messages N]
FOLDER holds s200.ndjson and n1k.ndjson (make_data.py), TOOLS what install_rivals.sh and dev/install_kafka.sh have fetched.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pyiceberg.table import StaticTable

from compare import fresh, show
from measure import measure

PARTITIONS = 4
PIPELINE = """\
pipeline: bench
source:
  kafka:
    cluster: {{brokers: ["{broker}"]}}
    topic: {topic}
    shares: {shares}
extract:
  json: {{nested: keep}}
load:
  iceberg: {{table: bench.events}}
"""
# The same columns for the others: Forebay learns them.
TYPES = {
    "s200": "id BIGINT, ts STRING, `type` STRING, `user` ROW<id BIGINT, city STRING, vip BOOLEAN>, amount DOUBLE, items ARRAY<ROW<sku STRING, qty BIGINT>>, tags ARRAY<STRING>, note STRING",
    "n1k": "id BIGINT, event_id STRING, ts STRING, `type` STRING, source ROW<app STRING, version STRING, region STRING>, customer ROW<id BIGINT, email STRING, name STRING, address ROW<street STRING, city STRING, zip STRING, country STRING, geo ROW<lat DOUBLE, lon DOUBLE>>, tags ARRAY<STRING>>, items ARRAY<ROW<sku STRING, name STRING, qty BIGINT, price DOUBLE, discount DOUBLE, attrs ROW<color STRING, size STRING>>>, payment ROW<`method` STRING, amount DOUBLE, currency STRING, card ROW<brand STRING, last4 STRING>>, shipping ROW<carrier STRING, cost DOUBLE, eta_days BIGINT>, flags ROW<vip BOOLEAN, gift BOOLEAN>, note STRING",
}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(what: str, ready, seconds: float = 120):
    end = time.monotonic() + seconds
    while True:
        try:
            if (found := ready()) is not None and found is not False:
                return found
        except OSError:
            pass
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not there in {seconds:.0f} s")
        time.sleep(0.2)


class Java:
    """Java processes that end with us; their CPU time is read from /proc."""

    def __init__(self):
        self.running = []

    def start(self, log: pathlib.Path, *args: str, env: dict = {}) -> subprocess.Popen:
        process = subprocess.Popen(["java", *args], stdout=log.open("ab"), stderr=subprocess.STDOUT, cwd=log.parent, env=os.environ | env, start_new_session=True)
        self.running.append(process)
        return process

    def stop(self):
        for process in self.running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running = []

    @staticmethod
    def cpu(processes) -> float:
        ticks = 0
        for process in processes:
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def memory(processes) -> int:
        lines = (line for process in processes for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines())
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def start_broker(java: Java, jars: pathlib.Path, folder: pathlib.Path) -> str:
    port, controller = free_port(), free_port()
    config = fresh(folder) / "server.properties"
    ones = ["offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
            "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr"]
    config.write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
group.initial.rebalance.delay.ms=0
""" + "".join(f"{name}=1\n" for name in ones))
    path = ["-cp", f"{jars}/*"]
    subprocess.run(["java", *path, "kafka.tools.StorageTool", "format", "-t", "forebay-bench-0000000A", "-c", config], check=True, capture_output=True)
    java.start(folder / "log", "-Xms1g", "-Xmx1g", *path, "kafka.Kafka", str(config))
    broker = f"127.0.0.1:{port}"
    wait("Kafka", lambda: socket.create_connection(("127.0.0.1", port), 1))
    return broker


def fill(broker: str, topic: str, data: pathlib.Path, messages: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values():
        future.result()
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 50, "batch.size": 1 << 20, "queue.buffering.max.messages": 500_000, "compression.type": "lz4"})
    sent = 0
    while sent < messages:
        with data.open("rb") as lines:
            for line in lines:
                while True:
                    try:
                        producer.produce(topic, line[:-1], partition=sent % PARTITIONS)
                        break
                    except BufferError:
                        producer.poll(0.1)
                sent += 1
                if sent == messages:
                    break
        producer.poll(0)
    producer.flush()


def forebay(binary: str, broker: str, topic: str, shares: int, folder: pathlib.Path) -> tuple:
    project = fresh(folder / "forebay")
    (project / "pipelines").mkdir()
    (project / "pipelines/bench.yaml").write_text(PIPELINE.format(broker=broker, topic=topic, shares=shares))
    figures = measure([binary, "run", "--quiet", "--no-progress"], project)
    count = subprocess.run([binary, "sql", "SELECT count(*) FROM bench.events", "--format", "csv"], cwd=project, check=True, capture_output=True, text=True).stdout
    return int(count.split()[1]), figures


def iceberg_count(table: pathlib.Path) -> int:
    # The newest file may still be written.
    version = (table / "metadata/version-hint.text").read_text()
    newest = table / f"metadata/v{version}.metadata.json"
    return StaticTable.from_metadata(str(newest)).scan().count()


def get(url: str):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


class Flink:
    OPENS = [f"--add-opens=java.base/{p}=ALL-UNNAMED" for p in
             "java.lang java.net java.io java.nio sun.nio.ch java.lang.reflect java.text java.time java.util java.util.concurrent java.util.concurrent.atomic java.util.concurrent.locks".split()]

    def __init__(self, java: Java, tools: pathlib.Path, folder: pathlib.Path):
        self.home, self.folder, self.port = tools / "flink-2.1.3", fresh(folder), free_port()
        (self.folder / "conf").mkdir()
        (self.folder / "conf/config.yaml").write_text(f"""jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {free_port()}
jobmanager.bind-host: 127.0.0.1
jobmanager.memory.process.size: 1024m
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {self.port}
taskmanager.bind-host: 127.0.0.1
taskmanager.host: 127.0.0.1
taskmanager.numberOfTaskSlots: 2
taskmanager.cpu.cores: 2
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 1024m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.network.min: 128m
taskmanager.memory.network.max: 128m
taskmanager.memory.managed.size: 64m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
execution.checkpointing.dir: file://{self.folder}/checkpoints
execution.checkpointing.interval: 5s
classloader.check-leaked-classloader: false
""")
        (self.folder / "conf/log4j.properties").write_text("rootLogger.level=WARN\nrootLogger.appenderRef.out.ref=out\nappender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\nappender.out.layout.pattern=%d %p %c{1} %m%n\n")
        self.env = {"FLINK_CONF_DIR": str(self.folder / "conf")}
        self.args = [*self.OPENS, f"-Dlog4j.configurationFile={self.folder}/conf/log4j.properties", "-cp", f"{self.home}/lib/*:{self.home}/ext/*:{self.home}/opt/*"]
        entry = "org.apache.flink.runtime."
        conf = ["--configDir", str(self.folder / "conf")]
        self.servers = [
            java.start(self.folder / "jobmanager.log", "-Xmx640m", *self.args, entry + "entrypoint.StandaloneSessionClusterEntrypoint", *conf, env=self.env),
            java.start(self.folder / "taskmanager.log", "-Xmx1152m", "-XX:MaxDirectMemorySize=320m", *self.args, entry + "taskexecutor.TaskManagerRunner", *conf, env=self.env),
        ]
        wait("Flink", lambda: get(f"http://127.0.0.1:{self.port}/overview")["taskmanagers"] == 1)

    def job(self, broker: str, topic: str, messages: int, table: str) -> tuple:
        script = self.folder / f"{table}.sql"
        script.write_text(f"""SET 'execution.runtime-mode' = 'streaming';
SET 'parallelism.default' = '2';
CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', 'warehouse' = 'file://{self.folder}/warehouse');
CREATE DATABASE IF NOT EXISTS lake.bench;
CREATE TABLE lake.bench.{table} ({TYPES[topic]}) WITH ('write.parquet.compression-codec' = 'zstd');
CREATE TEMPORARY TABLE messages ({TYPES[topic]}) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{broker}',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json');
INSERT INTO lake.bench.{table} SELECT * FROM messages;
""")
        known = {job["jid"] for job in get(f"http://127.0.0.1:{self.port}/jobs/overview")["jobs"]}
        submit = subprocess.run(["java", "-Xmx512m", *self.args, "org.apache.flink.table.client.SqlClient", "embedded", "-f", script], env=os.environ | self.env, cwd=self.folder, capture_output=True, text=True)
        if "ERROR" in submit.stdout:
            raise SystemExit(submit.stdout[-2000:])
        before = Java.cpu(self.servers)
        job = wait("the job", lambda: next((job for job in get(f"http://127.0.0.1:{self.port}/jobs/overview")["jobs"] if job["jid"] not in known), None))
        done = wait("the job's end", lambda: next((j for j in get(f"http://127.0.0.1:{self.port}/jobs/overview")["jobs"] if j["jid"] == job["jid"] and j["state"] in ("FINISHED", "FAILED")), None), 1200)
        if done["state"] != "FINISHED":
            raise SystemExit(f"Flink's job {done['state']}: see {self.folder}/jobmanager.log")
        figures = {"wall": done["duration"] / 1000, "cpu": Java.cpu(self.servers) - before, "memory": Java.memory(self.servers[1:])}
        # Flink may call a job finished just before its last commit is there.
        landed = self.folder / f"warehouse/bench/{table}"
        wait("Flink's rows", lambda: iceberg_count(landed) >= messages, 30)
        return iceberg_count(landed), figures


def connect(java: Java, tools: pathlib.Path, broker: str, topic: str, messages: int, folder: pathlib.Path) -> tuple:
    home, port = tools / "connect-4.3.1", free_port()
    warehouse = fresh(folder) / "warehouse"
    (folder / "worker.properties").write_text(f"""bootstrap.servers={broker}
group.id=connect-{topic}
listeners=http://127.0.0.1:{port}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
config.storage.topic=connect-configs-{topic}
config.storage.replication.factor=1
offset.storage.topic=connect-offsets-{topic}
offset.storage.replication.factor=1
status.storage.topic=connect-status-{topic}
status.storage.replication.factor=1
plugin.path={home}/plugins
plugin.discovery=service_load
offset.flush.interval.ms=2000
""")
    server = java.start(folder / "log", "-Xmx1g", "-cp", f"{home}/worker/*", "org.apache.kafka.connect.cli.ConnectDistributed", str(folder / "worker.properties"))
    wait("Kafka Connect", lambda: get(f"http://127.0.0.1:{port}/connectors") == [])
    config = {
        "connector.class": "org.apache.iceberg.connect.IcebergSinkConnector", "tasks.max": "2", "topics": topic, "iceberg.tables": f"bench.{topic}",
        "iceberg.catalog.type": "hadoop", "iceberg.catalog.warehouse": f"file://{warehouse}", "iceberg.tables.auto-create-enabled": "true",
        "iceberg.tables.evolve-schema-enabled": "true", "iceberg.tables.auto-create-props.write.parquet.compression-codec": "zstd",
        "iceberg.control.commit.interval-ms": "10000", "iceberg.control.topic": f"control-{topic}", "consumer.override.auto.offset.reset": "earliest",
    }
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_topics([NewTopic(f"control-{topic}", 1, 1)]).values():
        future.result()
    before, cpu = time.monotonic(), Java.cpu([server])
    request = urllib.request.Request(f"http://127.0.0.1:{port}/connectors/sink/config", json.dumps(config).encode(), {"Content-Type": "application/json"}, method="PUT")
    urllib.request.urlopen(request)
    table = warehouse / "bench" / topic

    def landed():
        return (table / "metadata").exists() and any((table / "metadata").glob("snap-*")) and iceberg_count(table) >= messages

    wait("Kafka Connect's rows", landed, 1200)
    figures = {"wall": time.monotonic() - before, "cpu": Java.cpu([server]) - cpu, "memory": Java.memory([server])}
    return iceberg_count(table), figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path), parser.add_argument("tools", type=pathlib.Path), parser.add_argument("forebay", type=pathlib.Path)
    parser.add_argument("--no-rivals", action="store_true"), parser.add_argument("--messages", type=int, default=2_000_000)
    given = parser.parse_args()
    folder, tools, binary = given.folder.resolve(), given.tools.resolve(), str(given.forebay.resolve())
    java, work = Java(), fresh(folder / "kafka")
    try:
        broker = start_broker(java, tools / "kafka-4.3.1", work / "broker")
        for topic, messages in [("s200", given.messages), ("n1k", given.messages // 5)]:
            fill(broker, topic, folder / f"{topic}.ndjson", messages)
            print(f"{topic}: {messages:,} messages in {PARTITIONS} partitions", flush=True)
            results = [("forebay", *forebay(binary, broker, topic, 1, work)), ("forebay, 2 shares", *forebay(binary, broker, topic, 2, work))]
            if not given.no_rivals:
                rivals = Java()
                try:
                    flink = Flink(rivals, tools, work / f"flink-{topic}")
                    results.append(("flink, cold", *flink.job(broker, topic, messages, "cold")))
                    results.append(("flink, warm", *flink.job(broker, topic, messages, "warm")))
                    rivals.stop()
                    results.append(("kafka connect", *connect(rivals, tools, broker, topic, messages, work / f"connect-{topic}")))
                finally:
                    rivals.stop()
            for who, rows, _ in results:
                if rows != messages:
                    raise SystemExit(f"{who} has {rows} rows, not {messages}")
            for result in results:
                show(*result)
    finally:
        java.stop()
        shutil.rmtree(work / "broker", ignore_errors=True)


if __name__ == "__main__":
    main()
