-- Groups. Times are microseconds since the Unix epoch; ids are the 16 bytes of a UUID.

-- One row: counts the changes of the graph that parents and selectors form. Every change raises it by one, and only
-- if nobody else has since the change was decided on.
CREATE TABLE groups_graph (
    id         BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    generation BIGINT NOT NULL
);
INSERT INTO groups_graph (id, generation) VALUES (1, 0);

CREATE TABLE groups_group (
    id                BLOB    NOT NULL PRIMARY KEY,
    name              TEXT   NOT NULL,
    -- The name in ASCII lower case, as names are compared.
    name_key          TEXT   NOT NULL UNIQUE,
    description       TEXT   NOT NULL,
    parent_id         BLOB    REFERENCES groups_group (id),
    -- Raw ids, one after the other, ascending.
    explicit_host_ids BLOB    NOT NULL,
    -- Canonical JSON with groups by id, without explicit ids: those are beside it, raw.
    selector          TEXT,
    selector_host_ids BLOB    NOT NULL,
    -- About how much reading the row takes.
    octets            BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision          BIGINT NOT NULL,
    -- The generation of the graph with which this row was last written.
    generation        BIGINT NOT NULL
);
CREATE INDEX groups_group_by_generation ON groups_group (generation, id);
CREATE INDEX groups_group_by_parent ON groups_group (parent_id);

-- Deleted groups, for those who follow the generations.
CREATE TABLE groups_removed (
    id         BLOB    NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
);
CREATE INDEX groups_removed_by_generation ON groups_removed (generation);
