"""Trino and Spark over the REST catalog of `forebay serve`, in both directions: what each reads of what we wrote, and we of what they wrote.

    python dev/engines/run.py FOREBAY TOOLS [trino] [spark]     FOREBAY: the binary; TOOLS: where dev/engines/install.sh put them

Works in a temporary folder, prints each check, and ends with exit code 1 when one fails.
"""

import csv
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from spark import Spark
from trino import Trino

PIPELINE = """pipeline: orders
source: {file: {path: "in/*.ndjson"}}
extract: {json: {}}
load: {iceberg: {table: shop.orders, mode: upsert, key: [id], partition: [state]}}
"""
SUMS = "SELECT state, count(*), sum(id), CAST(sum(price * 4) AS bigint) FROM {table} GROUP BY state ORDER BY state"
# Rows, a change in place, deletes, MERGE, and an evolved schema and partitioning, in the words of both.
CHANGES = """
INSERT INTO {copy} VALUES (2000, 'new', 1.25, 'x');
UPDATE {copy} SET price = price + 1 WHERE id < 10;
DELETE FROM {copy} WHERE state = 'paid' AND id % 2 = 1;
MERGE INTO {copy} t USING (SELECT id, 'merged' AS state FROM {orders} WHERE id IN (1, 20)) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET state = s.state;
MERGE INTO {copy} t USING (SELECT id + 3000 AS id FROM {orders} WHERE id < 5) s ON t.id = s.id
  WHEN NOT MATCHED THEN INSERT (id, state, price) VALUES (s.id, 'merged', 0.5);
ALTER TABLE {copy} ADD COLUMN extra decimal(10,2);
ALTER TABLE {copy} RENAME COLUMN note TO remark;
ALTER TABLE {copy} DROP COLUMN extra;
{evolve};
INSERT INTO {copy} VALUES (4000, 'late', 9.75, 'after');
INSERT INTO {orders} (id, state, price) VALUES ({appended}, 'new', 7)
"""
WORDS = {
    "trino": {
        "create": "CREATE TABLE {copy} WITH (partitioning = ARRAY['state']) AS SELECT id, state, price, note FROM {orders}",
        "evolve": "ALTER TABLE {copy} SET PROPERTIES partitioning = ARRAY['state', 'bucket(id, 4)']",
        "at": "FOR VERSION AS OF {snapshot}",
    },
    "spark": {
        "create": "CREATE TABLE {copy} USING iceberg PARTITIONED BY (state) TBLPROPERTIES ('write.delete.mode' = 'merge-on-read', "
        "'write.update.mode' = 'merge-on-read', 'write.merge.mode' = 'merge-on-read') AS SELECT id, state, price, note FROM {orders}",
        "evolve": "ALTER TABLE {copy} ADD PARTITION FIELD bucket(4, id)",
        "at": "VERSION AS OF {snapshot}",
    },
}


class Project:
    def __init__(self, forebay: str, folder: pathlib.Path) -> None:
        self.forebay, self.folder = forebay, folder
        for name in ("pipelines", "in"):
            (folder / name).mkdir(parents=True)
        (folder / "forebay.toml").write_text("")
        (folder / "pipelines/orders.yaml").write_text(PIPELINE)
        states = ["new", "paid", "sent"]
        self.load("1", [{"id": i, "state": states[i % 3], "price": i / 4} for i in range(1000)])

    def run(self, *arguments: str) -> str:
        done = subprocess.run([self.forebay, *arguments], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"forebay {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def load(self, file: str, records: list) -> None:
        (self.folder / f"in/{file}.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
        self.run("run", "--quiet")

    def sql(self, statement: str) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.run("sql", "--format", "csv", statement))))[1:]


def check(what: str, found: list, expected: list) -> bool:
    same = found == expected and found != []
    print(f"{'ok  ' if same else 'FAIL'} {what}", flush=True)
    if not same:
        print(f"     found    {found}\n     expected {expected}")
    return same


def try_engine(name: str, engine: Trino | Spark, project: Project, number: int) -> bool:
    words = WORDS[name]
    names = {"orders": "lake.shop.orders", "copy": f"lake.shop.{name}", "appended": 5000 + number}
    ours = project.sql(SUMS.format(table="shop.orders"))
    checks = [check(f"{name} reads rows that we replaced", engine.sql(SUMS.format(table=names["orders"])), ours)]
    (snapshot,) = project.sql("SELECT snapshot_id FROM lake.snapshots WHERE \"table\" = 'shop.orders' ORDER BY at LIMIT 1")
    at = words["at"].format(snapshot=snapshot[0])
    past = engine.sql(f"SELECT count(*), count(DISTINCT state) FROM {names['orders']} {at}")
    checks.append(check(f"{name} reads an earlier state", past, [["1000", "3"]]))
    engine.sql(words["create"].format(**names))
    engine.sql(CHANGES.format(evolve=words["evolve"].format(**names), **names))
    theirs = SUMS.format(table=names["copy"])
    checks.append(check(f"we read rows, deletes, MERGE and evolution of {name}", project.sql(SUMS.format(table=f"shop.{name}")), engine.sql(theirs)))
    remarks = "SELECT id, remark FROM {} WHERE remark IS NOT NULL AND id > 1999 ORDER BY id"
    checks.append(check(f"we read the renamed column of {name}", project.sql(remarks.format(f"shop.{name}")), [["2000", "x"], ["4000", "after"]]))
    appended = project.sql(f"SELECT state, price FROM shop.orders WHERE id = {names['appended']}")
    checks.append(check(f"we read a row of {name} in a pipeline's table", appended, [["new", "7.0"]]))
    project.load(f"after-{name}", [{"id": names["appended"], "state": "done", "price": 8, "note": name}])
    replaced = engine.sql(f"SELECT state, note FROM {names['orders']} WHERE id = {names['appended']}")
    checks.append(check(f"the pipeline replaces the row of {name}", replaced, [["done", name]]))
    return all(checks)


def start_server(project: Project) -> tuple[subprocess.Popen, str]:
    command = [project.forebay, "serve", "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in server.stdout:
        if found := re.search(r"listening on (http://[^ ]+)", line):
            return server, found[1].strip() + "/iceberg"
    raise SystemExit("forebay serve did not start")


def java(major: int) -> pathlib.Path:
    """A Java of at least this version, by JAVA_HOME or where Debian and Temurin put it."""
    homes = [pathlib.Path(os.environ.get("JAVA_HOME", "/nowhere")), *sorted(pathlib.Path("/usr/lib/jvm").glob("*"))]
    for home in homes:
        release = home / "release"
        version = re.search(r'JAVA_VERSION="(\d+)', release.read_text()) if release.exists() else None
        if version and int(version[1]) >= major:
            return home / "bin/java"
    raise SystemExit(f"needs Java {major} or newer: set JAVA_HOME")


def main() -> None:
    forebay, tools = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    engines = {"trino": (Trino, 24), "spark": (Spark, 17)}
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        project = Project(forebay, pathlib.Path(folder) / "project")
        project.load("2", [{"id": i, "state": "done", "price": 1.5, "note": f"n{i}"} for i in range(0, 1000, 10)])
        server, catalog = start_server(project)
        try:
            for number, name in enumerate(sys.argv[3:] or engines):
                kind, major = engines[name]
                (home,) = tools.glob(f"{name}-*")
                own = pathlib.Path(folder) / name
                own.mkdir()
                engine = kind(home, java(major), own, catalog)
                try:
                    passed = try_engine(name, engine, project, number) and passed
                finally:
                    engine.stop()
        finally:
            server.terminate()
            server.wait()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
