-- Version 5 on Postgres; see SQLite's for what each is for.

CREATE TABLE namespaces (
    name TEXT COLLATE "C" PRIMARY KEY,
    properties TEXT NOT NULL
);
