"""What a command takes: wall and CPU time, and the most memory that it held.

Run as a program (`measure.py COMMAND…`) it prints them as one line of JSON: `wall` and `cpu` in seconds, `memory` in bytes, and `out`, what
the command has printed. It is a small process of its own for every command: Linux counts the memory of a child from what the process
held that started it, and a benchmark may hold more than what it measures.
"""

import json
import pathlib
import resource
import subprocess
import sys
import time


def measure(command: list, cwd: pathlib.Path) -> dict:
    done = subprocess.run([sys.executable, __file__, *map(str, command)], cwd=cwd, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command[:2]} failed with {done.returncode}: {done.stdout}")
    return json.loads(done.stdout)


def main() -> None:
    before = time.monotonic()
    done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    wall, usage = time.monotonic() - before, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        print(done.stdout)
        raise SystemExit(1)
    print(json.dumps({"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024, "out": done.stdout}))


if __name__ == "__main__":
    main()
