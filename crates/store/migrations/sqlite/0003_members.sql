-- Version 3: which processes share the splits of a pipeline.

-- A hint like a lease: it says how many there are to share with. Who writes is decided by the epochs alone.
CREATE TABLE members (
    branch INTEGER NOT NULL REFERENCES branches (id),
    pipeline TEXT NOT NULL,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    PRIMARY KEY (branch, pipeline, owner)
) STRICT;
