"""Works on tables over the REST catalog, with pyiceberg and DuckDB.

usage: rest_catalog.py URI TOKEN STEP [ARGUMENT...]
"""

import sys
import threading
import time

import duckdb
import pyarrow as pa
from compare_flights import load_extensions, storage
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    BadRequestError,
    CommitFailedException,
    ForbiddenError,
    NamespaceNotEmptyError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.types import StringType

uri, token, step, *arguments = sys.argv[1:]
db = duckdb.connect()
load_extensions(db)
access = storage(db)
access.pop("s3.endpoint", None)  # the server tells it
if token:
    access["token"] = token


def connect(warehouse: str = "main") -> RestCatalog:
    return RestCatalog("forebay", uri=uri, warehouse=warehouse, **access)


def rows(ids, **columns) -> pa.Table:
    ids = list(ids)
    notes = pa.array([f"n{n}" for n in ids], pa.string())
    return pa.table({"id": pa.array(ids, pa.int64()), "note": notes, **columns})


def ids(table) -> list:
    return sorted(table.scan().to_arrow()["id"].to_pylist())


def refused(kind, work, words: str) -> None:
    try:
        work()
    except kind as error:
        assert words in str(error), f"{error}"
        return
    raise AssertionError(f"not refused: {words}")


def read_and_write() -> None:
    """The table shop.orders has the ids 1 and 2 of a pipeline."""
    catalog = connect()
    assert ("shop",) in catalog.list_namespaces()
    assert catalog.list_tables("shop") == [("shop", "orders")]
    assert catalog.table_exists("shop.orders") and not catalog.table_exists("shop.none")
    table = catalog.load_table("shop.orders")
    assert ids(table) == [1, 2], ids(table)
    table.append(rows([3, 4]))
    table.delete("id = 1")
    table.overwrite(rows([5]), "id = 4")
    assert ids(catalog.load_table("shop.orders")) == [2, 3, 5]
    with table.update_schema() as update:
        update.add_column("tag", StringType())
    table.append(rows([6], tag=["x"]))
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "v1").commit()
    with table.transaction() as transaction:
        transaction.append(rows([7], tag=["y"]))
        transaction.set_properties(hello="world")
    assert ids(catalog.load_table("shop.orders")) == [2, 3, 5, 6, 7]
    refused(ForbiddenError, lambda: catalog.drop_table("shop.orders"), "pipeline orders loads")
    refused(ForbiddenError, lambda: catalog.rename_table("shop.orders", "shop.x"), "pipeline orders loads")
    refused(ForbiddenError, lambda: catalog.load_table("raw.orders").delete("true"), "written by Forebay alone")
    own_tables(catalog)
    duckdb_too()


def own_tables(catalog) -> None:
    catalog.create_namespace("lab", {"owner": "me"})
    properties = catalog.load_namespace_properties("lab")
    # Trino asks for it before it stages a table.
    assert properties.pop("location").endswith("/tables"), properties
    assert properties == {"owner": "me"}
    catalog.update_namespace_properties("lab", {"owner"}, {"a": "b"})
    table = catalog.create_table("lab.t", rows([]).schema, location="file:///etc")
    assert "/tables/" in table.location() and "/etc" not in table.location()
    table.append(rows(range(10)))
    refused(TableAlreadyExistsError, lambda: catalog.create_table("lab.t", rows([]).schema), "already exists")
    with catalog.create_table_transaction("lab.u", rows([]).schema) as transaction:
        transaction.append(rows([1]))
    catalog.rename_table("lab.u", "lab.v")
    refused(NoSuchTableError, lambda: catalog.load_table("lab.u"), "lab.u")
    moved = catalog.load_table("lab.v").metadata_location
    catalog.drop_table("lab.v")
    assert ids(catalog.register_table("lab.w", moved)) == [1]
    refused(NamespaceNotEmptyError, lambda: catalog.drop_namespace("lab"), "not empty")
    # Files of another table, whose readers may be others.
    files = [task.file.file_path for task in catalog.load_table("lab.t").scan().plan_files()]
    stranger = catalog.load_table("lab.w")
    refused(BadRequestError, lambda: stranger.add_files(files, check_duplicate_files=False), "folder of its table")
    assert ids(catalog.load_table("lab.w")) == [1]
    pages = [catalog._session.get(f"{uri}/v1/main/namespaces/lab/tables", params={"pageSize": 1}).json()]
    while pages[-1]["next-page-token"]:
        params = {"pageSize": 1, "pageToken": pages[-1]["next-page-token"]}
        pages.append(catalog._session.get(f"{uri}/v1/main/namespaces/lab/tables", params=params).json())
    assert [page["identifiers"][0]["name"] for page in pages] == ["t", "w"], pages


def duckdb_too() -> None:
    how = "AUTHORIZATION_TYPE 'none'"
    if token:
        db.sql(f"CREATE SECRET catalog (TYPE iceberg, TOKEN '{token}')")
        how = "SECRET catalog"
    db.sql(f"ATTACH 'main' AS lake (TYPE iceberg, ENDPOINT '{uri}', {how})")
    found = db.sql("SELECT count(*), sum(id) FROM lake.shop.orders").fetchall()
    assert found == [(5, 23)], found
    if arguments == ["read-only"]:
        return
    db.sql("INSERT INTO lake.shop.orders (id, note) VALUES (8, 'duck')")
    db.sql("CREATE SCHEMA lake.duck")
    db.sql("CREATE TABLE lake.duck.a AS SELECT range AS n, 'x' || range AS s FROM range(100)")
    db.sql("DELETE FROM lake.duck.a WHERE n < 10")
    db.sql("UPDATE lake.duck.a SET s = 'changed' WHERE n = 50")
    db.sql("CREATE TABLE lake.duck.b (n BIGINT)")
    # Two tables in one commit.
    db.begin()
    db.sql("INSERT INTO lake.duck.a VALUES (1000, 'z')")
    db.sql("INSERT INTO lake.duck.b VALUES (1)")
    db.commit()
    found = db.sql("SELECT count(*), max(n) FROM lake.duck.a").fetchall()
    assert found == [(91, 1000)], found
    db.sql("DROP TABLE lake.duck.b")


def refuse_writes() -> None:
    """The table is bitemporal."""
    catalog = connect()
    table = catalog.load_table(arguments[0])
    before = table.scan().to_arrow()
    refused(ForbiddenError, lambda: table.append(before), "bitemporal")
    refused(ForbiddenError, lambda: table.delete("true"), "bitemporal")
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "v1").commit()
    assert catalog.load_table(arguments[0]).scan().to_arrow().num_rows == before.num_rows


def write_many() -> None:
    """Several writers append rows one by one until the file STOP is there; each tells which of its rows were acknowledged."""
    import pathlib

    (table_name, writers, stop) = arguments
    stop = pathlib.Path(stop)
    acknowledged = []

    def write(writer: int) -> None:
        for n in range(1_000_000):
            row = -(writer * 1_000_000 + n) - 1
            while not stop.exists():
                try:
                    table = connect().load_table(table_name)
                    if table.scan(row_filter=f"id = {row}").to_arrow().num_rows == 0:
                        table.append(pa.table({"id": pa.array([row], pa.int64())}))
                    acknowledged.append(row)
                    break
                except CommitFailedException:
                    pass
                except Exception:
                    time.sleep(0.05)
            if stop.exists():
                return

    threads = [threading.Thread(target=write, args=[n]) for n in range(int(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(" ".join(str(row) for row in acknowledged))


def delete_beside() -> None:
    """Deletes rows one after the other, each by a condition that no statistics decide; tells the attempts that each took."""
    (table_name, count) = arguments
    taken = []
    for _ in range(int(count)):
        for attempt in range(1, 41):
            try:
                table = connect().load_table(table_name)
                least = min(table.scan(selected_fields=("id",)).to_arrow()["id"].to_pylist())
                table.delete(f"id = {least} or id = -{least + 1}")
                taken.append(attempt)
                break
            except CommitFailedException:
                continue
        else:
            raise AssertionError(f"starved after {taken}")
    print(taken)


def make_uuids() -> None:
    import uuid

    from pyiceberg.schema import Schema
    from pyiceberg.types import FixedType, LongType, NestedField, UUIDType

    catalog = connect()
    catalog.create_namespace("lab")
    schema = Schema(
        NestedField(1, "n", LongType(), required=False),
        NestedField(2, "id", UUIDType(), required=False),
        NestedField(3, "f", FixedType(4), required=False),
    )
    table = catalog.create_table("lab.ids", schema)
    ids = [uuid.UUID("123e4567-e89b-12d3-a456-426614174000").bytes, uuid.UUID(int=1).bytes]
    columns = {
        "n": pa.array([1, 2], pa.int64()),
        "id": pa.array(ids, pa.binary(16)),
        "f": pa.array([b"abcd", b"efgh"], pa.binary(4)),
    }
    table.append(pa.table(columns))


globals()[step]()
