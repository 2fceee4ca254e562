"""Compares nyc.flights as Forebay, DuckDB and pyiceberg read it with DuckDB over the original CSV.

usage: compare_flights.py FLIGHTS_CSV STORE_DB FOREBAY PROJECT
"""

import csv
import importlib.util
import os
import pathlib
import subprocess
import sys

import duckdb
from pyiceberg.catalog.sql import SqlCatalog

FIGURES = "count(*), sum(distance), sum(dep_delay), sum(arr_delay), count(dep_time), sum(air_time)"
GROUPS = "SELECT carrier, count(*), sum(distance) FROM {} GROUP BY carrier ORDER BY carrier"


def rows(text: str) -> list:
    def value(cell: str):
        return cell if not cell.lstrip("-").replace(".", "").isdigit() else int(float(cell))

    return [tuple(value(cell) for cell in row) for row in list(csv.reader(text.splitlines()))[1:]]


def forebay(statement: str) -> list:
    command = [sys.argv[3], "sql", statement, "--format", "csv"]
    return rows(subprocess.run(command, cwd=sys.argv[4], check=True, capture_output=True, text=True).stdout)


def same(name: str, expected, found) -> None:
    plain = [tuple(int(v) if isinstance(v, float) else v for v in row) for row in found]
    expected = [tuple(int(v) if not isinstance(v, str) else v for v in row) for row in expected]
    assert plain == expected, f"{name} differs:\n{plain}\n{expected}"
    print(f"{name}: equal")


def load_extensions(db) -> None:
    """Loads what the extension packages ship, without asking anybody."""
    for name in ["httpfs", "avro", "iceberg"]:
        package = pathlib.Path(importlib.util.find_spec(f"duckdb_extension_{name}").origin).parent
        (file,) = package.glob(f"extensions/*/{name}.duckdb_extension")
        db.sql(f"LOAD '{file}'")


def storage(db) -> dict:
    """How pyiceberg reaches the bucket that the environment names; tells DuckDB as well."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")
    if endpoint is None:
        return {}
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    host = endpoint.removeprefix("http://")
    db.sql(f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)")
    return {"s3.endpoint": endpoint, "s3.access-key-id": key, "s3.secret-access-key": secret, "s3.region": "us-east-1"}


def main() -> None:
    db = duckdb.connect()
    load_extensions(db)
    original = f"read_csv('{sys.argv[1]}', nullstr=['NA', ''])"
    figures = db.sql(f"SELECT {FIGURES} FROM {original}").fetchall()
    groups = db.sql(GROUPS.format(original)).fetchall()
    notes = [(168_388,)]

    same("forebay figures", figures, forebay(f"SELECT {FIGURES} FROM nyc.flights"))
    same("forebay groups", groups, forebay(GROUPS.format("nyc.flights")))
    same("forebay added column", notes, forebay("SELECT count(note) FROM nyc.flights"))

    catalog = SqlCatalog("forebay", uri=f"sqlite:///{sys.argv[2]}", warehouse="file:///nowhere", **storage(db))
    table = catalog.load_table("nyc.flights")
    flights = table.scan().to_arrow()  # noqa: F841, DuckDB reads it by name
    same("pyiceberg figures", figures, db.sql(f"SELECT {FIGURES} FROM flights").fetchall())
    same("pyiceberg groups", groups, db.sql(GROUPS.format("flights")).fetchall())
    same("pyiceberg added column", notes, db.sql("SELECT count(note) FROM flights").fetchall())

    scan = f"iceberg_scan('{table.metadata_location}')"
    same("duckdb figures", figures, db.sql(f"SELECT {FIGURES} FROM {scan}").fetchall())
    same("duckdb groups", groups, db.sql(GROUPS.format(scan)).fetchall())
    same("duckdb added column", notes, db.sql(f"SELECT count(note) FROM {scan}").fetchall())


if __name__ == "__main__":
    main()
