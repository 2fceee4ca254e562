-- Version 2 on Postgres; see SQLite's for what each is for.

CREATE TABLE horizon (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    at BIGINT NOT NULL,
    seq BIGINT NOT NULL
);

CREATE INDEX commits_by_parent ON commits (parent);
CREATE INDEX heads_by_commit ON heads (seq);
CREATE INDEX positions_by_commit ON positions (seq);
