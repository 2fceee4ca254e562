"""Rows replaced by key, two times, and compaction: Forebay beside pyiceberg, DuckDB and Spark on the same rows.

usage: lake.py FOLDER FOREBAY [--rows N] [--tools TOOLS] [upsert] [bitemporal] [compact]

TOOLS is where dev/engines/install.sh put Spark; without it Spark is left out. pyiceberg and Spark change tables that Forebay has loaded from the same
file, through the REST catalog of `forebay serve`; DuckDB writes the Parquet file anew. Counts and sums are compared before a figure is printed.
CPU time is that of the process and its children; for Spark that of its JVM during the statement, so without its start.
"""

import argparse
import contextlib
import csv
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import duckdb

from measure import measure

CHANGES = (1_000, 20_000, 1_000_000)
SMALL_FILES = 1_000
#: Coprime to every power of ten: multiplied by it, numbers below one come once each, in no order.
STEP = 7_368_787
SUMS = "SELECT count(*), sum(CAST(price * 4 AS bigint)) FROM {}"
ROWS = """SELECT (i * {step} % {rows})::BIGINT AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_microseconds(i * 977113) AS at,
  (hash(i + {salt}) % 100000)::BIGINT AS "user", (hash(i + {salt}) % 10000)::BIGINT / 4.0::DOUBLE AS price,
  ['new', 'paid', 'sent', 'returned'][(hash(i) % 4 + 1)::BIGINT] AS state, 'order ' || hash(i + {salt}) AS note FROM range({count}) t(i)"""
#: Prices of a bond day by day, and a tenth of them corrected for half a day, later.
PRICES = """SELECT 'B' || (i % {keys}) AS bond, DATE '2026-01-01' + (i // {keys})::INTEGER * 2 AS valid_from, NULL::DATE AS valid_to, (hash(i) % 10000)::BIGINT / 4.0::DOUBLE AS price
  FROM range({count}) t(i)
  UNION ALL
  SELECT 'B' || (i * 10 % {keys}), DATE '2026-01-01' + (i * 10 // {keys})::INTEGER * 2, DATE '2026-01-02' + (i * 10 // {keys})::INTEGER * 2, -1 FROM range({count} // 10) t(i)"""


class Project:
    def __init__(self, binary: str, folder: pathlib.Path, **loads: str) -> None:
        self.binary, self.folder = binary, folder
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "pipelines").mkdir(parents=True)
        (folder / "forebay.toml").write_text("")
        for name, load in loads.items():
            (folder / name).mkdir()
            rules = f'pipeline: {name}\nsource: {{file: {{path: "{name}/*.parquet"}}}}\nextract: {{parquet: {{}}}}\n{load}\n'
            (folder / f"pipelines/{name}.yaml").write_text(rules)

    def run(self, name: str, data: pathlib.Path) -> dict:
        os.link(data, self.folder / name / data.name)
        return measure([self.binary, "run", name, "--quiet", "--no-progress"], self.folder)

    def sql(self, statement: str) -> list[list[str]]:
        command = [self.binary, "sql", "--format", "csv", statement]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return list(csv.reader(io.StringIO(done.stdout)))[1:]

    def sums(self, table: str) -> list[int]:
        return [int(value) for value in self.sql(SUMS.format(table))[0]]

    @contextlib.contextmanager
    def served(self):
        """The address of the REST catalog. The pipelines rest meanwhile."""
        for rules in self.folder.glob("pipelines/*.yaml"):
            rules.unlink()
        command = [self.binary, "serve", "--listen", "127.0.0.1:0"]
        server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            lines = (re.search(r"listening on (http://[^ ]+)", line) for line in server.stdout)
            yield next(found[1].strip() for found in lines if found) + "/iceberg"
        finally:
            server.terminate()
            server.wait()


class Spark:
    """Spark in this process, over a REST catalog."""

    def __init__(self, tools: pathlib.Path, folder: pathlib.Path, catalog: str) -> None:
        sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "dev/engines"))
        import run
        import spark

        (home,) = tools.glob("spark-*")
        self.engine = spark.Spark(home, run.java(17), folder, catalog)
        found = subprocess.run(["pgrep", "-P", str(os.getpid()), "java"], capture_output=True, text=True)
        self.jvm = pathlib.Path(f"/proc/{found.stdout.split()[0]}/stat")

    def cpu(self) -> float:
        fields = self.jvm.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def measure(self, statement: str) -> dict:
        wall, cpu = time.monotonic(), self.cpu()
        self.engine.sql(statement)
        peak = re.search(r"VmHWM:\s+(\d+)", self.jvm.with_name("status").read_text())
        return {"wall": time.monotonic() - wall, "cpu": self.cpu() - cpu, "memory": int(peak[1]) * 1024}


def write(path: pathlib.Path, select: str) -> pathlib.Path:
    if not path.exists():
        duckdb.sql(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
    return path


def show(who: str, rows: int, figures: dict) -> None:
    print(f"  {who:34} {figures['wall']:>8.2f} s  {figures['cpu']:>8.2f} cpu-s  {rows / figures['cpu']:>11,.0f} rows/cpu-s  {figures['memory'] / 2**20:>7,.0f} MiB", flush=True)


def check(who: str, found: list[int], expected: list[int]) -> None:
    if found != expected:
        raise SystemExit(f"{who} has {found}, not {expected}")


def upsert_by_pyiceberg(catalog: str, table: str, data: str) -> None:
    import pyarrow.parquet
    from pyiceberg.catalog import load_catalog

    rows = pyarrow.parquet.read_table(data)
    load_catalog("lake", type="rest", uri=catalog).load_table(table).upsert(rows, join_cols=["id"])


def upsert(options: argparse.Namespace) -> None:
    folder, rows = options.folder, options.rows
    base = write(folder / f"base-{rows}.parquet", ROWS.format(step=STEP, rows=rows, salt=0, count=rows))
    load = "load: {{iceberg: {{table: bench.{}, mode: {}}}}}"
    ours = Project(options.forebay, folder / "forebay", orders=load.format("orders", "upsert, key: [id]"))
    theirs = Project(options.forebay, folder / "rivals", **{name: load.format(name, "append") for name in ("pyiceberg", "spark")})
    print(f"{rows:,} rows are loaded, by key")
    show("forebay, first load", rows, ours.run("orders", base))
    for name in ("pyiceberg", "spark"):
        theirs.run(name, base)
    with theirs.served() as catalog:
        spark = Spark(options.tools, folder, catalog) if options.tools else None
        whole = base
        for count in [CHANGES[0], *CHANGES]:
            # The first is to warm up; the second has other keys.
            salt = 1 if whole == base else 2
            select = ROWS.format(step=99_991, rows=rows, salt=salt + count, count=min(count, rows // 2))
            changed = write(folder / f"changes-{rows}-{count}-{salt}.parquet", select)
            print(f"{count:,} keys are replaced" + (" (to warm up)" if salt == 1 else ""))
            replaced = folder / f"duckdb-{count}-{salt}.parquet"
            replaced.unlink(missing_ok=True)
            anew = f"COPY (SELECT * FROM '{whole}' ANTI JOIN '{changed}' USING (id) UNION ALL FROM '{changed}') TO '{replaced}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
            figures = measure([sys.executable, "-c", f'import duckdb; duckdb.sql("SET threads = 2; SET enable_progress_bar = false"); duckdb.sql("""{anew}""")'], folder)
            expected = [int(value) for value in duckdb.sql(SUMS.format(f"'{replaced}'")).fetchone()]
            show("duckdb, the whole file anew", count, figures)
            whole = replaced
            figures = ours.run("orders", changed)
            check("forebay", ours.sums("bench.orders"), expected)
            show("forebay run", count, figures)
            if spark:
                spark.engine.sql(f"CREATE OR REPLACE TEMPORARY VIEW changes USING parquet OPTIONS (path '{changed}')")
                if salt == 1:
                    modes = ", ".join(f"'write.{kind}.mode' = 'merge-on-read'" for kind in ("merge", "update", "delete"))
                    spark.engine.sql(f"ALTER TABLE lake.bench.spark SET TBLPROPERTIES ({modes})")
                merge = "MERGE INTO lake.bench.spark t USING changes c ON t.id = c.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
                figures = spark.measure(merge)
                check("spark", theirs.sums("bench.spark"), expected)
                show("spark, MERGE INTO on read", count, figures)
            if count <= options.pyiceberg_max:
                command = [sys.executable, __file__, "--pyiceberg", catalog, "bench.pyiceberg", changed]
                figures = measure(command, folder)
                check("pyiceberg", theirs.sums("bench.pyiceberg"), expected)
                show("pyiceberg, upsert", count, figures)
        if spark:
            spark.engine.stop()


def bitemporal(options: argparse.Namespace) -> None:
    count, keys = options.rows * 10 // 11 // 10 * 10, options.rows // 10
    data = write(options.folder / f"prices-{options.rows}.parquet", PRICES.format(count=count, keys=keys))
    two_times = "{iceberg: {table: bench.two, mode: bitemporal, key: [bond], valid_from: valid_from, valid_to: valid_to}}"
    project = Project(options.forebay, options.folder / "two", one="load: {iceberg: {table: bench.one}}", two=f"load: {two_times}")
    figures = {name: project.run(name, data) for name in ("one", "two")}
    total = count + count // 10
    print(f"{total:,} prices of {keys:,} bonds, a tenth of them corrections")
    ((rows, corrections),) = project.sql("SELECT count(*), count(*) FILTER (WHERE price < 0) FROM bench.one")
    check("append", [int(rows), int(corrections)], [total, count // 10])
    ((corrections,),) = project.sql("SELECT count(*) FROM bench.two__current WHERE price < 0")
    check("bitemporal", [int(corrections)], [count // 10])
    show("forebay, append", total, figures["one"])
    show("forebay, bitemporal", total, figures["two"])


def compact(options: argparse.Namespace) -> None:
    rows = options.rows
    base = write(options.folder / f"base-{rows}.parquet", ROWS.format(step=STEP, rows=rows, salt=0, count=rows))
    small = f"buffer: {{rows: {rows // SMALL_FILES}}}\nload: {{{{iceberg: {{{{table: bench.{{}}}}}}}}}}"
    project = Project(options.forebay, options.folder / "small", ours=small.format("ours"), spark=small.format("spark"))
    print(f"{rows:,} rows in {SMALL_FILES:,} files become few")
    show("forebay, writing them", rows, project.run("ours", base))
    expected = project.sums("bench.ours")
    figures = measure([options.forebay, "tables", "compact", "bench.ours"], project.folder)
    check("forebay", project.sums("bench.ours"), expected)
    show("forebay tables compact", rows, figures)
    if options.tools:
        project.run("spark", base)
        with project.served() as catalog:
            spark = Spark(options.tools, options.folder, catalog)
            figures = spark.measure("CALL lake.system.rewrite_data_files(table => 'bench.spark')")
            check("spark", project.sums("bench.spark"), expected)
            show("spark, rewrite_data_files", rows, figures)
            spark.engine.stop()


def main() -> None:
    if sys.argv[1:2] == ["--pyiceberg"]:
        return upsert_by_pyiceberg(*sys.argv[2:])
    parts = {"upsert": upsert, "bitemporal": bitemporal, "compact": compact}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("forebay", type=lambda text: str(pathlib.Path(text).resolve()))
    parser.add_argument("parts", nargs="*", metavar="|".join(parts), help="all without one")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--tools", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--pyiceberg-max", type=int, default=1_000, help="most keys that pyiceberg replaces: it takes minutes for more")
    options = parser.parse_intermixed_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for part in options.parts or parts:
        parts[part](options)


if __name__ == "__main__":
    main()
