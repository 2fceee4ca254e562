"""Makes the benchmark's NDJSON: `s200.ndjson` (about 200 B a record) and `n1k.ndjson` (about 1 KB, 36 leaves in 8 structs and 2 lists).

usage: make_data.py FOLDER [ROWS_200 ROWS_1K]     the same rows every time
"""

import json
import pathlib
import random
import sys

WORDS = "amber basin cedar delta ember fjord grove harbor inlet jetty knoll lagoon mesa north ocean prairie quarry ridge shoal tundra".split()
CITIES = ["Berlin", "Lagos", "Lima", "Osaka", "Porto", "Quito", "Riga", "Tunis"]


def stamp(r: random.Random) -> str:
    return f"2026-{r.randint(1, 12):02}-{r.randint(1, 28):02}T{r.randint(0, 23):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}.{r.randint(0, 999):03}Z"


def money(r: random.Random) -> float:
    return r.randint(100, 999_999) / 100


def small(n: int, r: random.Random) -> dict:
    return {
        "id": n, "ts": stamp(r), "type": r.choice(["view", "cart", "order"]),
        "user": {"id": r.randint(1, 1_000_000), "city": r.choice(CITIES), "vip": r.random() < 0.1},
        "amount": money(r), "items": [{"sku": f"S{r.randint(1, 9999)}", "qty": r.randint(1, 9)} for _ in range(r.randint(0, 2))],
        "tags": r.sample(WORDS, r.randint(0, 2)), "note": r.choice(WORDS),
    }


def item(r: random.Random) -> dict:
    return {
        "sku": f"S{r.randint(1, 99999)}", "name": f"{r.choice(WORDS)} {r.choice(WORDS)}", "qty": r.randint(1, 9), "price": money(r),
        "discount": r.randint(0, 30) / 100, "attrs": {"color": r.choice(["red", "blue", "green"]), "size": r.choice(["S", "M", "L"])},
    }


def large(n: int, r: random.Random) -> dict:
    name = f"{r.choice(WORDS)}.{r.choice(WORDS)}{r.randint(1, 999)}"
    return {
        "id": n, "event_id": f"{r.getrandbits(128):032x}", "ts": stamp(r), "type": r.choice(["view", "cart", "order"]),
        "source": {"app": "web-shop", "version": f"{r.randint(1, 9)}.{r.randint(0, 20)}.{r.randint(0, 9)}", "region": r.choice(["eu-1", "us-2", "ap-3"])},
        "customer": {
            "id": r.randint(1, 1_000_000), "email": f"{name}@example.org", "name": name.title(),
            "address": {"street": f"{r.choice(WORDS).title()} Street {r.randint(1, 200)}", "city": r.choice(CITIES), "zip": f"{r.randint(10000, 99999)}",
                        "country": "XX", "geo": {"lat": r.randint(-9000, 9000) / 100, "lon": r.randint(-18000, 18000) / 100}},
            "tags": r.sample(WORDS, r.randint(0, 3)),
        },
        "items": [item(r) for _ in range(r.randint(1, 4))],
        "payment": {"method": "card", "amount": money(r), "currency": "EUR", "card": {"brand": r.choice(["visa", "mc"]), "last4": f"{r.randint(0, 9999):04}"}},
        "shipping": {"carrier": r.choice(["dhl", "ups"]), "cost": money(r) / 100, "eta_days": r.randint(1, 9)},
        "flags": {"vip": r.random() < 0.1, "gift": r.random() < 0.2}, "note": " ".join(r.choice(WORDS) for _ in range(r.randint(0, 12))),
    }


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    counts = [int(count) for count in sys.argv[2:4]] or [1_000_000, 300_000]
    for name, make, rows in [("s200", small, counts[0]), ("n1k", large, counts[1])]:
        path = folder / f"{name}.ndjson"
        if path.exists() and sum(1 for _ in path.open("rb")) == rows:
            continue
        r = random.Random(7)
        with path.open("w") as out:
            for n in range(rows):
                out.write(json.dumps(make(n, r), separators=(",", ":")) + "\n")
        print(f"{path}: {rows} rows, {path.stat().st_size / rows:.0f} B a row")


if __name__ == "__main__":
    main()
