"""Reads shop.prices with pyiceberg and DuckDB: whole numbers in its first snapshot, doubles in the newest.

usage: widened_peers.py STORE_DB
"""

import sys

import duckdb
from compare_flights import load_extensions
from pyiceberg.catalog.sql import SqlCatalog

BEFORE = [(1, 5), (2, 7)]
NOW = [(1, 5.0), (2, 7.0), (3, 5.25), (4, 8.0)]


def check(name: str, found: list, expected: list, kind: type) -> None:
    found = sorted(found)
    assert found == expected, f"{name}: {found}"
    assert all(type(price) is kind for _, price in found), f"{name}: {found}"
    print(f"{name}: as expected")


table = SqlCatalog("forebay", uri=f"sqlite:///{sys.argv[1]}", warehouse="file:///nowhere").load_table("shop.prices")
snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number)
operations = [snapshot.summary.operation.value for snapshot in snapshots]
assert operations == ["append", "replace", "append", "append"], operations
first, replaced = (snapshot.snapshot_id for snapshot in snapshots[:2])


def pyiceberg(**options) -> list:
    return [(row["id"], row["price"]) for row in table.scan(**options).to_arrow().to_pylist()]


check("pyiceberg now", pyiceberg(), NOW, float)
check("pyiceberg, filtered", pyiceberg(row_filter="price > 5 and price < 6"), NOW[2:3], float)
check("pyiceberg before", pyiceberg(snapshot_id=first), BEFORE, int)
check("pyiceberg, replaced", pyiceberg(snapshot_id=replaced), NOW[:2], float)

db = duckdb.connect()
load_extensions(db)
here = table.metadata_location
check("duckdb now", db.sql(f"SELECT id, price FROM iceberg_scan('{here}')").fetchall(), NOW, float)
before = f"SELECT id, price FROM iceberg_scan('{here}', snapshot_from_id={first})"
check("duckdb before", db.sql(before).fetchall(), BEFORE, int)
