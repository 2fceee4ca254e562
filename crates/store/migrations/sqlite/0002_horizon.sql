-- Version 2: how far back the lake is kept. Rows of the log that no kept state needs may be deleted.

-- One row, or none as long as everything is kept.
CREATE TABLE horizon (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- States of before this instant are no longer promised, and not read.
    at INTEGER NOT NULL,
    -- The newest commit at that instant, 0 when there was none: what it made is the oldest state that is kept.
    seq INTEGER NOT NULL
) STRICT;

-- Who refers to a commit, asked for each one that is deleted.
CREATE INDEX commits_by_parent ON commits (parent);
CREATE INDEX heads_by_commit ON heads (seq);
CREATE INDEX positions_by_commit ON positions (seq);
