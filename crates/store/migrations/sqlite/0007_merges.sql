-- Version 7: tags, and what merges brought into a branch.

-- A tag is a branch that nothing is committed to: it stays at its base.
ALTER TABLE branches ADD COLUMN is_tag INTEGER NOT NULL DEFAULT 0;

-- What a branch has of others beside its bases: with its commit `seq` came all that `source` had up to commit `upto`. Written whole by each
-- merge (also what the source had of third branches), so that what a state has is read without recursion.
CREATE TABLE merges (
    branch INTEGER NOT NULL,
    source INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    PRIMARY KEY (branch, source, seq)
) STRICT, WITHOUT ROWID;
