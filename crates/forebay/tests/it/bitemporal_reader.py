"""Reads what is believed now of a bitemporal table with pyiceberg and DuckDB.

usage: bitemporal_reader.py STORE_DB TABLE RATE,RATE
"""

import sys
from datetime import datetime, timezone

import duckdb
from compare_flights import load_extensions, storage
from pyiceberg.catalog.sql import SqlCatalog

store, name, expected = sys.argv[1:]
wanted = sorted(float(rate) for rate in expected.split(","))
db = duckdb.connect()
load_extensions(db)
db.sql("SET TimeZone = 'UTC'")
table = SqlCatalog("forebay", uri=f"sqlite:///{store}", warehouse="file:///nowhere", **storage(db)).load_table(name)
end = datetime(9999, 12, 31, tzinfo=timezone.utc)
rows = table.scan(row_filter=f"system_to == '{end.isoformat()}'").to_arrow().to_pylist()
assert sorted(row["rate"] for row in rows) == wanted, f"pyiceberg: {rows}"
believed = f"SELECT rate FROM iceberg_scan('{table.metadata_location}') WHERE system_to = '9999-12-31'"
rows = db.sql(believed).fetchall()
assert sorted(rate for (rate,) in rows) == wanted, f"DuckDB: {rows}"
print("pyiceberg and DuckDB: equal")
