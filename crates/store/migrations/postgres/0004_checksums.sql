-- Version 4: rows that decide what is read carry a checksum. See the same file of SQLite.

ALTER TABLE heads ADD COLUMN checksum BIGINT;
ALTER TABLE changes ADD COLUMN checksum BIGINT;
ALTER TABLE positions ADD COLUMN checksum BIGINT;
ALTER TABLE moves ADD COLUMN checksum BIGINT;

CREATE OR REPLACE FUNCTION heads_are_logged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (branch, namespace, name, seq, table_uuid, metadata_location, checksum)
    SELECT branch, namespace, name, seq, table_uuid, metadata_location, checksum FROM moved;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION moves_are_logged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO moves (branch, pipeline, split, seq, epoch, sequence, position, checksum)
    SELECT n.branch, n.pipeline, n.split, n.seq, n.epoch, n.sequence, n.position, n.checksum
    FROM moved n JOIN stood o ON o.branch = n.branch AND o.pipeline = n.pipeline AND o.split = n.split
    WHERE n.sequence <> o.sequence;
    RETURN NULL;
END $$;
