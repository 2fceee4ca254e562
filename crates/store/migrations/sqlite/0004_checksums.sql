-- Version 4: rows that decide what is read carry a checksum (see `sql/checksum.rs`). NULL: written by an older version.

ALTER TABLE heads ADD COLUMN checksum INTEGER;
ALTER TABLE changes ADD COLUMN checksum INTEGER;
ALTER TABLE positions ADD COLUMN checksum INTEGER;
ALTER TABLE moves ADD COLUMN checksum INTEGER;

DROP TRIGGER heads_inserted;
DROP TRIGGER heads_updated;
DROP TRIGGER positions_moved;

CREATE TRIGGER heads_inserted AFTER INSERT ON heads BEGIN
    INSERT INTO changes (branch, namespace, name, seq, table_uuid, metadata_location, checksum)
    VALUES (NEW.branch, NEW.namespace, NEW.name, NEW.seq, NEW.table_uuid, NEW.metadata_location, NEW.checksum);
END;
CREATE TRIGGER heads_updated AFTER UPDATE ON heads BEGIN
    INSERT INTO changes (branch, namespace, name, seq, table_uuid, metadata_location, checksum)
    VALUES (NEW.branch, NEW.namespace, NEW.name, NEW.seq, NEW.table_uuid, NEW.metadata_location, NEW.checksum);
END;
CREATE TRIGGER positions_moved AFTER UPDATE OF sequence ON positions BEGIN
    INSERT INTO moves (branch, pipeline, split, seq, epoch, sequence, position, checksum)
    VALUES (NEW.branch, NEW.pipeline, NEW.split, NEW.seq, NEW.epoch, NEW.sequence, NEW.position, NEW.checksum);
END;
