"""Answers batches of expressions with DuckDB: one JSON line in, one JSON line out, each value in a form that both sides share."""

import datetime
import decimal
import json
import math
import struct
import sys

import duckdb

EPOCH = datetime.datetime(1970, 1, 1)


def shared(value):
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, decimal.Decimal):
        text = format(value, "f")
        if "." in text:
            text = text.rstrip("0").rstrip(".")
        return "0" if text in ("-0", "") else text
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return struct.pack(">d", value + 0.0).hex()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        delta = value - EPOCH
        return str((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(str(shared(item)) for item in value) + "]"
    return str(value)


def columns(connection, sql):
    rows = connection.execute(sql).fetchall()
    width = len(rows[0]) if rows else 0
    return [[shared(row[at]) for row in rows] for at in range(width)]


def answer(connection, request):
    head, tail = request["head"], request["tail"]

    def run(expressions):
        """A batch that fails is halved, so that one failing expression costs few statements."""
        try:
            made = columns(connection, f"{head} {', '.join(expressions)} {tail}")
            return made if made else [[] for _ in expressions]
        except Exception as error:
            if len(expressions) == 1:
                return [{"error": str(error).splitlines()[0]}]
            half = len(expressions) // 2
            return run(expressions[:half]) + run(expressions[half:])

    return run(request["expressions"])


def sorted_rows(connection, sql):
    try:
        rows = connection.execute(sql).fetchall()
    except Exception as error:
        return {"error": str(error).splitlines()[0]}
    return sorted(" | ".join(str(shared(value)) for value in row) for row in rows)


def main():
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    for line in sys.stdin:
        request = json.loads(line)
        if "setup" in request:
            for statement in request["setup"]:
                connection.execute(statement)
            answered = "ready"
        elif "statements" in request:
            answered = [sorted_rows(connection, sql) for sql in request["statements"]]
        else:
            answered = answer(connection, request)
        sys.stdout.write(json.dumps(answered) + "\n")
        sys.stdout.flush()


main()
