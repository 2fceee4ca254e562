-- Version 3 on Postgres; see SQLite's for what each is for.

CREATE TABLE members (
    branch BIGINT NOT NULL REFERENCES branches (id),
    pipeline TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    until BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    PRIMARY KEY (branch, pipeline, owner)
);
