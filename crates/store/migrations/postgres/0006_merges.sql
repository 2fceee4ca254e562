-- Version 6 on Postgres; see SQLite's version 7 for what each is for.

ALTER TABLE branches ADD COLUMN is_tag BIGINT NOT NULL DEFAULT 0;

CREATE TABLE merges (
    branch BIGINT NOT NULL,
    source BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    upto BIGINT NOT NULL,
    PRIMARY KEY (branch, source, seq)
);
