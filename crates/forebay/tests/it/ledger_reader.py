"""Reads a table with pyiceberg and holds it to the ledger of its producer.

usage: ledger_reader.py STORE_DB TABLE EXPECTED     EXPECTED is count, distinct ids, least and greatest id, sum of price * 4
"""

import sys

import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog

table = SqlCatalog("forebay", uri=f"sqlite:///{sys.argv[1]}", warehouse="file:///nowhere").load_table(sys.argv[2])
count, sum4, seen = 0, 0, bytearray(int(sys.argv[3].split(",")[0]))
for batch in table.scan(selected_fields=("id", "price")).to_arrow_batch_reader():
    count += batch.num_rows
    sum4 += int(pc.sum(pc.cast(pc.multiply(batch["price"], 4.0), "int64")).as_py() or 0)
    for id in batch["id"].to_pylist():
        seen[id] += 1
ids = [id for id, times in enumerate(seen) if times]
found = f"{count},{len(ids)},{ids[0]},{ids[-1]},{sum4}"
assert found == sys.argv[3] and max(seen) == 1, f"{found} is not {sys.argv[3]}"
print(f"pyiceberg: {found}")
