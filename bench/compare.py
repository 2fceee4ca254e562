"""Forebay beside DuckDB and dlt on the same NDJSON: counts first, then rows/s, rows per CPU-second, peak memory.

usage: compare.py FOLDER FOREBAY     FOLDER holds s200.ndjson and n1k.ndjson (make_data.py)
"""

import os
import pathlib
import shutil
import subprocess
import sys

from measure import measure

DLT_ROWS_MAX = 50_000  # dlt is measured on the first so many rows: all of them would take hours

PIPELINE = """\
pipeline: bench
source:
  file: {{path: "{data}"}}
extract:
  json: {{lines: true, nested: {nested}}}
load:
  iceberg: {{table: bench.events}}
"""

DUCKDB = """
import duckdb, sys
db = duckdb.connect()
db.sql("SET threads = 2; SET enable_progress_bar = false")
db.sql(f"COPY (SELECT * FROM read_json('{sys.argv[1]}', format='newline_delimited')) TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
print(db.sql(f"SELECT count(*) FROM '{sys.argv[2]}'").fetchone()[0])
"""

DLT = """
import dlt, json, os, sys
os.chdir(sys.argv[2])
def events():
    with open(sys.argv[1]) as lines:
        for line in lines:
            yield json.loads(line)
pipeline = dlt.pipeline("bench", pipelines_dir=sys.argv[2] + "/p", destination=dlt.destinations.filesystem(bucket_url="file://" + sys.argv[2] + "/out"), dataset_name="bench")
nesting = None if sys.argv[3] == "tables" else 0
resource = dlt.resource(events, name="events", max_table_nesting=nesting)
pipeline.run(resource, loader_file_format="parquet")
print(pipeline.last_trace.last_normalize_info.row_counts["events"])
"""


def fresh(path: pathlib.Path) -> pathlib.Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def forebay(binary: str, data: pathlib.Path, nested: str, folder: pathlib.Path) -> tuple:
    project = fresh(folder / "forebay")
    (project / "pipelines").mkdir()
    os.link(data, project / data.name)
    (project / "pipelines/bench.yaml").write_text(PIPELINE.format(data=data.name, nested=nested))
    figures = measure([binary, "run", "--quiet", "--no-progress"], project)
    statement = "SELECT count(*) FROM bench.events"
    count = subprocess.run([binary, "sql", statement, "--format", "csv"], cwd=project, check=True, capture_output=True, text=True).stdout
    return int(count.split()[1]), figures


def duckdb(data: pathlib.Path, folder: pathlib.Path) -> tuple:
    figures = measure([sys.executable, "-c", DUCKDB, str(data), str(fresh(folder / "duckdb") / "out.parquet")], folder)
    return int(figures["out"]), figures


def dlt(data: pathlib.Path, nested: str, folder: pathlib.Path) -> tuple:
    part = folder / "dlt.ndjson"
    with data.open("rb") as lines, part.open("wb") as out:
        for _, line in zip(range(DLT_ROWS_MAX), lines):
            out.write(line)
    figures = measure([sys.executable, "-c", DLT, str(part), str(fresh(folder / "dlt")), nested], folder)
    return int(figures["out"].split()[-1]), figures


def show(name: str, rows: int, figures: dict) -> None:
    rate, per_cpu = rows / figures["wall"], rows / figures["cpu"]
    print(f"  {name:28} {rows:>9,} rows  {rate:>11,.0f} rows/s  {per_cpu:>11,.0f} rows/cpu-s  {figures['memory'] / 2**20:>7,.0f} MiB", flush=True)


def main() -> None:
    folder, binary = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
    for name in ["s200", "n1k"]:
        data = folder / f"{name}.ndjson"
        with data.open("rb") as lines:
            expected = sum(1 for _ in lines)
        print(f"{name}: {data.stat().st_size / 2**20:,.0f} MiB, {data.stat().st_size / expected:,.0f} B a row")
        for nested in ["keep", "tables"]:
            results = [(f"forebay {nested}", *forebay(binary, data, nested, folder))]
            if nested == "keep":
                results.append(("duckdb to parquet", *duckdb(data, folder)))
            for who, rows, _ in results:
                if rows != expected:
                    raise SystemExit(f"{who} has {rows} rows, not {expected}")
            if "--no-dlt" not in sys.argv:
                rows, figures = dlt(data, nested, folder)
                if rows != min(expected, DLT_ROWS_MAX):
                    raise SystemExit(f"dlt has {rows} rows, not {min(expected, DLT_ROWS_MAX)}")
                results.append((f"dlt {nested}", rows, figures))
            for result in results:
                show(*result)


if __name__ == "__main__":
    main()
