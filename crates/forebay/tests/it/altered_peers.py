"""Reads shop.people with pyiceberg and DuckDB after columns were renamed, dropped and added again under an old name.

usage: altered_peers.py STORE_DB
"""

import sys

import duckdb
from compare_flights import load_extensions
from pyiceberg.catalog.sql import SqlCatalog

BEFORE = [(1, "ada", "x", "1000"), (2, "bob", "y", "2000")]
NOW = [(1, "ada", None, "1000"), (2, "bob!", None, "2000"), (3, "eve", "new", "3000"), (4, "kim", None, None)]


def check(name: str, found: list, expected: list) -> None:
    found = sorted(found)
    assert found == expected, f"{name}: {found}"
    print(f"{name}: as expected")


table = SqlCatalog("forebay", uri=f"sqlite:///{sys.argv[1]}", warehouse="file:///nowhere").load_table("shop.people")
snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number)
first = snapshots[0].snapshot_id


def pyiceberg(name: str, field: str, **options) -> list:
    rows = table.scan(**options).to_arrow().to_pylist()
    return [(row["id"], row[name], row["note"], (row["address"] or {}).get(field)) for row in rows]


check("pyiceberg now", pyiceberg("name", "postcode"), NOW)
check("pyiceberg, filtered", pyiceberg("name", "postcode", row_filter="name == 'ada'"), NOW[:1])
check("pyiceberg, old value", pyiceberg("name", "postcode", row_filter="note == 'x'"), [])
check("pyiceberg before", pyiceberg("called", "zip", snapshot_id=first), BEFORE)
for row in table.scan().to_arrow().to_pylist():
    assert set(row) == {"id", "name", "address", "note"}, row
    assert row["address"] is None or set(row["address"]) == {"postcode"}, row

db = duckdb.connect()
load_extensions(db)
here = table.metadata_location
scan = f"iceberg_scan('{here}')"
now = db.sql(f"SELECT id, name, note, address.postcode FROM {scan}").fetchall()
check("duckdb now", now, NOW)
found = db.sql(f"SELECT id, name, note, address.postcode FROM {scan} WHERE name = 'ada'").fetchall()
check("duckdb, filtered", found, NOW[:1])
check("duckdb, old value", db.sql(f"SELECT id FROM {scan} WHERE note = 'x'").fetchall(), [])
