"""TPC-H: Forebay over its lake beside DuckDB over Parquet files of the same rows, results compared first.

usage: tpch.py FOLDER FOREBAY [SCALE]      needs sqlglot and, in the version of DuckDB, duckdb-extension-tpch, both of PyPI

Each of the 22 queries is a process of its own for both, at two threads. Printed are seconds and CPU-seconds.
"""

import csv
import decimal
import io
import os
import pathlib
import shutil
import subprocess
import sys

import duckdb
import duckdb_extension_tpch
import sqlglot

from measure import measure

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
#: Averages of decimals are floats in DuckDB, and decimals with four more places in Forebay.
DIGITS = 4
DUCKDB = """
import csv, duckdb, sys
db = duckdb.connect()
db.sql("SET threads = 2; SET enable_progress_bar = false")
db.sql("CREATE SCHEMA tpch")
for table in {tables}:
    db.sql(f"CREATE VIEW tpch.{{table}} AS SELECT * FROM '{folder}/{{table}}.parquet'")
result = db.sql(open(sys.argv[1]).read())
csv.writer(sys.stdout).writerows([result.columns, *result.fetchall()])
"""


def make_data(folder: pathlib.Path, scale: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    extension = next(pathlib.Path(duckdb_extension_tpch.__file__).parent.rglob("*.duckdb_extension"))
    db = duckdb.connect()
    db.sql(f"LOAD '{extension}'")
    for number, text in db.sql("SELECT query_nr, query FROM tpch_queries()").fetchall():
        (folder / f"q{number:02}.sql").write_text(qualified(text))
    if (folder / "supplier.parquet").exists():
        return
    db.sql(f"CALL dbgen(sf = {scale})")
    for table in TABLES:
        db.sql(f"COPY {table} TO '{folder}/{table}.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")


def qualified(text: str) -> str:
    """The query with `tpch.` before its tables."""
    query = sqlglot.parse_one(text, read="duckdb")
    for table in query.find_all(sqlglot.exp.Table):
        if table.name in TABLES:
            table.set("db", sqlglot.exp.to_identifier("tpch"))
    return query.sql(dialect="duckdb")


def load(binary: str, data: pathlib.Path, project: pathlib.Path) -> None:
    shutil.rmtree(project, ignore_errors=True)
    (project / "pipelines").mkdir(parents=True)
    (project / "forebay.toml").write_text("")
    for table in TABLES:
        os.link(data / f"{table}.parquet", project / f"{table}.parquet")
        rules = f"pipeline: {table}\nsource: {{file: {{path: {table}.parquet}}}}\nextract: {{parquet: {{}}}}\nload: {{iceberg: {{table: tpch.{table}}}}}\n"
        (project / f"pipelines/{table}.yaml").write_text(rules)
    subprocess.run([binary, "run", "--quiet", "--no-progress"], cwd=project, check=True)


def value_of(text: str) -> object:
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return text.split("T")[0].split(" 00:00:00")[0]
    return f"{float(number):.{DIGITS}g}"


def rows_of(text: str) -> list:
    return [[value_of(value) for value in row or [""]] for row in list(csv.reader(io.StringIO(text)))[1:]]


def main() -> None:
    folder, binary = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
    data = folder / f"tpch-{sys.argv[3] if len(sys.argv) > 3 else '1'}"
    make_data(data, data.name.removeprefix("tpch-"))
    project = folder / "tpch-project"
    load(binary, data, project)
    peer = DUCKDB.format(tables=TABLES, folder=data)
    total = {"forebay": [0.0, 0.0], "duckdb": [0.0, 0.0]}
    for number in range(1, 23):
        query = data / f"q{number:02}.sql"
        commands = {
            "forebay": [binary, "sql", "--format", "csv", "--file", query],
            "duckdb": [sys.executable, "-c", peer, query],
        }
        figures = {who: measure(command, project) for who, command in commands.items()}
        ours, theirs = (rows_of(figures[who]["out"]) for who in ("forebay", "duckdb"))
        if ours != theirs:
            print(f"query {number} differs:\n  forebay {ours[:3]}\n  duckdb  {theirs[:3]}")
        line = [f"  q{number:02}"]
        for who, found in figures.items():
            total[who][0] += found["wall"]
            total[who][1] += found["cpu"]
            line.append(f"{who} {found['wall']:>6.2f} s {found['cpu']:>6.2f} cpu-s {found['memory'] / 2**20:>6,.0f} MiB")
        print("   ".join(line), flush=True)
    print("  all   " + "   ".join(f"{who} {wall:.2f} s {cpu:.2f} cpu-s" for who, (wall, cpu) in total.items()))


if __name__ == "__main__":
    main()
