-- The platform's own memory, version 1.
--
-- `commits`, `changes` and `moves` are the log: rows are added and never changed. `heads` and `positions` are what
-- the log adds up to on each branch, kept for compare-and-set; triggers write the log from them, so that the two
-- cannot disagree. Instants are microseconds since 1970 in UTC.

CREATE TABLE branches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    -- What it started from: the base as it was after its commit `base_seq` (NULL: before its first).
    base INTEGER REFERENCES branches (id),
    base_seq INTEGER REFERENCES commits (seq),
    -- The newest commit seen from here, which is `base_seq` until the branch has one of its own.
    head_seq INTEGER REFERENCES commits (seq),
    -- A dropped branch stays, for the log and for the branches that are based on it; its name is free again.
    dropped_at INTEGER
) STRICT;
CREATE UNIQUE INDEX branches_live ON branches (name) WHERE dropped_at IS NULL;

CREATE TABLE commits (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    parent INTEGER REFERENCES commits (seq),
    branch INTEGER NOT NULL REFERENCES branches (id),
    -- Strictly increasing with `seq` over all branches.
    at INTEGER NOT NULL UNIQUE,
    author TEXT NOT NULL,
    message TEXT NOT NULL,
    run TEXT
) STRICT;
CREATE INDEX commits_of_branch ON commits (branch, seq);

CREATE TRIGGER commits_move_the_branch AFTER INSERT ON commits BEGIN
    UPDATE branches SET head_seq = NEW.seq WHERE id = NEW.branch;
END;

-- Only tables that a commit of this very branch touched; others are found in the base. Never deleted: a dropped
-- table is a tombstone (no location), so that this is also the list of all names that the branch ever had.
CREATE TABLE heads (
    branch INTEGER NOT NULL REFERENCES branches (id),
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    table_uuid TEXT NOT NULL,
    metadata_location TEXT,
    previous_metadata_location TEXT,
    seq INTEGER NOT NULL REFERENCES commits (seq),
    PRIMARY KEY (branch, namespace, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    branch INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    table_uuid TEXT NOT NULL,
    -- NULL: dropped.
    metadata_location TEXT,
    PRIMARY KEY (branch, namespace, name, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_of_commit ON changes (branch, seq);

CREATE TRIGGER heads_inserted AFTER INSERT ON heads BEGIN
    INSERT INTO changes (branch, namespace, name, seq, table_uuid, metadata_location)
    VALUES (NEW.branch, NEW.namespace, NEW.name, NEW.seq, NEW.table_uuid, NEW.metadata_location);
END;
CREATE TRIGGER heads_updated AFTER UPDATE ON heads BEGIN
    INSERT INTO changes (branch, namespace, name, seq, table_uuid, metadata_location)
    VALUES (NEW.branch, NEW.namespace, NEW.name, NEW.seq, NEW.table_uuid, NEW.metadata_location);
END;

-- Where each writer stands. `epoch` counts the takers of the split, `sequence` its commits.
CREATE TABLE positions (
    branch INTEGER NOT NULL REFERENCES branches (id),
    pipeline TEXT NOT NULL,
    split TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    -- JSON; NULL before the first commit.
    position TEXT,
    -- The commit that moved it last; NULL when it still stands where the base left it.
    seq INTEGER REFERENCES commits (seq),
    PRIMARY KEY (branch, pipeline, split)
) STRICT;

CREATE TABLE moves (
    branch INTEGER NOT NULL,
    pipeline TEXT NOT NULL,
    split TEXT NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    position TEXT NOT NULL,
    PRIMARY KEY (branch, pipeline, split, seq)
) STRICT;

CREATE TRIGGER positions_moved AFTER UPDATE OF sequence ON positions BEGIN
    INSERT INTO moves (branch, pipeline, split, seq, epoch, sequence, position)
    VALUES (NEW.branch, NEW.pipeline, NEW.split, NEW.seq, NEW.epoch, NEW.sequence, NEW.position);
END;

-- A hint about who works; the epoch in `positions` is what counts. A released lease has no owner.
CREATE TABLE leases (
    branch INTEGER NOT NULL REFERENCES branches (id),
    pipeline TEXT NOT NULL,
    split TEXT NOT NULL,
    owner TEXT,
    until INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    PRIMARY KEY (branch, pipeline, split)
) STRICT;

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    -- The name, not the id: the record outlives the branch.
    branch TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'lost')),
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    error TEXT
) STRICT;
CREATE INDEX runs_by_start ON runs (started_at, id);
CREATE INDEX runs_of_pipeline ON runs (pipeline, started_at, id);
CREATE INDEX runs_running ON runs (pipeline, branch) WHERE status = 'running';

CREATE TABLE steps (
    run TEXT NOT NULL REFERENCES runs (id),
    ordinal INTEGER NOT NULL,
    step TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    cpu_us INTEGER NOT NULL,
    wall_us INTEGER NOT NULL,
    memory_bytes_max INTEGER NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (run, ordinal)
) STRICT, WITHOUT ROWID;

-- One row per open store: `batch` is the last SQL transaction that it committed, which is how it finds out what
-- became of one whose answer was lost; `fence` is written when it asks, so that the answer stays true.
CREATE TABLE writers (
    id TEXT NOT NULL UNIQUE,
    batch INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What Iceberg's JDBC catalog clients read (pyiceberg's SqlCatalog with the name `forebay`): `main`, read-only.
CREATE VIEW iceberg_tables AS
SELECT
    'forebay' AS catalog_name,
    namespace AS table_namespace,
    name AS table_name,
    metadata_location,
    previous_metadata_location,
    'TABLE' AS iceberg_type
FROM heads WHERE branch = 1 AND metadata_location IS NOT NULL;

CREATE VIEW iceberg_namespace_properties AS
SELECT DISTINCT
    'forebay' AS catalog_name,
    namespace,
    'exists' AS property_key,
    'true' AS property_value
FROM heads WHERE branch = 1 AND metadata_location IS NOT NULL;

-- Last, because a row is checked against every table that it may refer to.
INSERT INTO branches (id, name) VALUES (1, 'main');
