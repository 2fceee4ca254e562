"""A Trino server on loopback whose catalog `lake` is a REST catalog."""

import csv
import io
import pathlib
import socket
import subprocess
import time
import urllib.request

START_SECONDS_MAX = 300


class Trino:
    def __init__(self, home: pathlib.Path, java: pathlib.Path, folder: pathlib.Path, catalog: str) -> None:
        self.home, self.java = home, java
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        etc = folder / "etc"
        (etc / "catalog").mkdir(parents=True)
        (etc / "config.properties").write_text(
            f"coordinator=true\nnode-scheduler.include-coordinator=true\nhttp-server.http.port={port}\ndiscovery.uri={self.url}\n"
            f"node.internal-address=127.0.0.1\nnode.bind-ip=127.0.0.1\ncatalog.config-dir={etc / 'catalog'}\n"
            "query.max-memory=512MB\nquery.max-memory-per-node=512MB\nmemory.heap-headroom-per-node=256MB\n"
        )
        (etc / "log.properties").write_text("io.trino=WARN\n")
        (etc / "catalog" / "lake.properties").write_text(
            f"connector.name=iceberg\niceberg.catalog.type=rest\niceberg.rest-catalog.uri={catalog}\nfs.hadoop.enabled=true\n"
        )
        options = ["-Xmx1500m", "-XX:+ExitOnOutOfMemoryError", "-Djdk.attach.allowAttachSelf=true", "--add-modules=jdk.incubator.vector"]
        options += ["--sun-misc-unsafe-memory-access=allow", "-Dnode.environment=test", f"-Dnode.data-dir={folder / 'data'}"]
        options += [f"-Dplugin.dir={home / 'plugin'}", f"-Dconfig={etc / 'config.properties'}", f"-Dlog.levels-file={etc / 'log.properties'}"]
        self.log = (folder / "trino.log").open("w")
        command = [str(java), *options, "-cp", f"{home}/lib/*", "io.trino.server.TrinoServer"]
        self.server = subprocess.Popen(command, cwd=folder, stdout=self.log, stderr=subprocess.STDOUT)
        self._await_start()

    def _await_start(self) -> None:
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end and self.server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/v1/info", timeout=5) as answer:
                    if b'"starting":false' in answer.read():
                        return
            except OSError:
                pass
            time.sleep(0.5)
        self.stop()
        raise SystemExit(f"Trino did not start: see {self.log.name}")

    def sql(self, statements: str) -> list[list[str]]:
        """The rows of all statements, as text."""
        (jar,) = self.home.glob("trino-cli-*.jar")
        command = [str(self.java), "-cp", str(jar), "io.trino.cli.Trino", "--server", self.url, "--execute", statements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"Trino: {done.stderr}")
        return list(csv.reader(io.StringIO(done.stdout)))

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait()
