"""Reads a table that has position deletes with pyiceberg and DuckDB.

usage: upsert_reader.py STORE_DB TABLE ID:STATE,ID:STATE
"""

import sys

import duckdb
from compare_flights import load_extensions, storage
from pyiceberg.catalog.sql import SqlCatalog

store, name, expected = sys.argv[1:]
wanted = sorted(tuple(pair.split(":")) for pair in expected.split(","))
db = duckdb.connect()
load_extensions(db)
table = SqlCatalog("forebay", uri=f"sqlite:///{store}", warehouse="file:///nowhere", **storage(db)).load_table(name)
rows = [(str(row["id"]), row["state"]) for row in table.scan().to_arrow().to_pylist()]
assert sorted(rows) == wanted, f"pyiceberg: {sorted(rows)}"
(one, state) = wanted[0]
rows = table.scan(row_filter=f"id == {one}").to_arrow().to_pylist()
assert [row["state"] for row in rows] == [state], f"pyiceberg, filtered: {rows}"
rows = db.sql(f"SELECT id::VARCHAR, state FROM iceberg_scan('{table.metadata_location}')").fetchall()
assert sorted(rows) == wanted, f"DuckDB: {sorted(rows)}"
print("pyiceberg and DuckDB: equal")
