-- Version 6: namespaces that were created before their first table, and properties of namespaces.

-- A namespace with tables needs no row. They are names alone, the same on every branch; what a branch has is its tables.
CREATE TABLE namespaces (
    name TEXT PRIMARY KEY,
    properties TEXT NOT NULL
) STRICT;
