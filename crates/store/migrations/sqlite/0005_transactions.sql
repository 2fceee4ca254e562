-- Version 5: transactions are numbered by a column, so that the mark beside the file can be compared with them. Before it was
-- the rowid, which VACUUM and a dump may give out anew.

CREATE TABLE numbered (
    -- Grows with each transaction of any writer; the largest one is never deleted.
    ordinal INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    batch INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO numbered (ordinal, id, batch, fence) SELECT rowid, id, batch, fence FROM writers;
DROP TABLE writers;
ALTER TABLE numbered RENAME TO writers;
