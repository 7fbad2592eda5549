-- Secrets that operations refer to by name. Values are sealed with a key that is not in the database.

CREATE TABLE secrets (
    name            TEXT   NOT NULL PRIMARY KEY,
    -- The newest version. It goes on after a deletion, so that no number ever means two values.
    version         BIGINT NOT NULL,
    -- The ids of the groups whose hosts may get it, as a JSON list; empty: every host.
    group_ids       TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    deleted_at      BIGINT
);

CREATE TABLE secret_versions (
    name            TEXT   NOT NULL,
    version         BIGINT NOT NULL,
    -- Which key it is sealed with.
    key_id          TEXT   NOT NULL,
    sealed          BLOB   NOT NULL,
    created_at      BIGINT NOT NULL,
    created_by      TEXT   NOT NULL,
    created_by_name TEXT   NOT NULL,
    PRIMARY KEY (name, version)
);
