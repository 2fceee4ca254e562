"""HTTP push, measured from outside: how many records a CPU-second of the server makes durable and commits, how long callers wait
for the answer and for the commit, and how soon a server that was killed answers again.

    push.py FOLDER FOREBAY PUSH_LOAD [SECONDS]

FOLDER takes the projects; FOREBAY and PUSH_LOAD are programs (see push.sh). Counts are compared before a number is printed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PIPELINE = """\
pipeline: readings
source: {{push: {{backlog: 64GiB}}}}
extract: {{json: {{lines: true}}}}
buffer: {{{buffer}}}
load: {{iceberg: {{table: iot.readings}}}}
"""

TICKS = os.sysconf("SC_CLK_TCK")
UNSEALED_BYTES = 2_000_000_000


class Server:
    """A `forebay serve` of a project of its own."""

    def __init__(self, forebay, folder, buffer="time: 250ms"):
        self.forebay, self.folder = forebay, folder
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "pipelines").mkdir(parents=True)
        (folder / "pipelines/readings.yaml").write_text(PIPELINE.format(buffer=buffer))
        self.start("127.0.0.1:0")

    def start(self, address):
        begun = time.monotonic()
        command = [self.forebay, "serve", "--listen", address]
        self.process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "http://" in line:
                self.address = line.split("http://")[1].strip()
                break
        else:
            sys.exit("the server does not start")
        return begun

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name):
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(name)]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0

    def push(self, body):
        request = urllib.request.Request(f"http://{self.address}/v1/ingest/readings", data=body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_peak(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()
        self.process.stderr.close()

    def counts(self):
        command = [self.forebay, "sql", "SELECT count(*), count(DISTINCT id) FROM iot.readings", "--format", "csv"]
        answer = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True)
        return [int(n) for n in answer.stdout.splitlines()[1].split(",")]


def load(program, server, **how):
    words = [f"{name}={value}" for name, value in how.items()]
    answer = subprocess.run([program, server.address, "readings", *words], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def measure(title, forebay, program, folder, **how):
    server = Server(forebay, folder)
    server.push(b'{"id": -1, "device": "d", "celsius": 1.5, "ok": true, "note": ""}\n')
    before = server.cpu()
    found = load(program, server, **how)
    cpu, peak = server.cpu() - before, server.memory_peak()
    server.end()
    counts = server.counts()
    if counts != [found["rows"] + 1] * 2:
        sys.exit(f"{title}: {found['rows']} records acknowledged, but the table has {counts}")
    print(
        f"{title}: {found['rows_per_second']:,.0f} records/s in {found['requests_per_second']:,.0f} requests/s, "
        f"{found['rows'] / cpu:,.0f} records and {found['requests'] / cpu:,.0f} requests per CPU-second, "
        f"answer p50 {found['answer']['p50_ms']:.1f} ms p99 {found['answer']['p99_ms']:.1f} ms, "
        f"committed p50 {found['committed_after']['p50_ms']:.0f} ms p99 {found['committed_after']['p99_ms']:.0f} ms, "
        f"{found['refused']} told to come later, peak {peak / 2**20:.0f} MiB",
        flush=True,
    )


def restart(forebay, program, folder):
    server = Server(forebay, folder, buffer="time: 10h, rows: 1_000_000_000, bytes: 64GiB")
    rows = 0
    while server.metric("forebay_pipeline_backlog_bytes") < UNSEALED_BYTES:
        rows += load(program, server, connections=8, batch=1000, seconds=5, first=rows, watch=0)["rows"]
    unsealed = server.metric("forebay_pipeline_backlog_bytes")
    server.end(signal.SIGKILL)
    begun = server.start(server.address)
    server.push(b'{"id": -1, "device": "d", "celsius": 1.5, "ok": true, "note": ""}\n')
    took = time.monotonic() - begun
    print(
        f"restart with {unsealed / 1e9:.2f} GB unsealed: first acknowledgement after {took * 1e3:.0f} ms, "
        f"peak {server.memory_peak() / 2**20:.0f} MiB",
        flush=True,
    )
    server.end(signal.SIGKILL)


def main():
    folder, forebay, program = Path(sys.argv[1]), *sys.argv[2:4]
    seconds = int(sys.argv[4]) if len(sys.argv) > 4 else 20
    measure("batches of 100", forebay, program, folder / "batches", connections=16, batch=100, seconds=seconds)
    measure("single records", forebay, program, folder / "singles", connections=128, batch=1, seconds=seconds)
    measure("200 requests/s of 10", forebay, program, folder / "steady", connections=16, batch=10, rate=200, seconds=seconds)
    restart(forebay, program, folder / "restart")


main()
