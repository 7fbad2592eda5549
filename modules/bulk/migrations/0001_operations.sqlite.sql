-- One row for each bulk operation. Its hosts, their results and its counters are the core's command set.
-- Times are microseconds since the Unix epoch; ids are the 16 bytes of a UUID.
CREATE TABLE bulk_operations (
    id              BLOB   NOT NULL PRIMARY KEY,
    set_id          BLOB   NOT NULL,
    -- The operation this one retries.
    parent_id       BLOB,
    created_by      TEXT   NOT NULL,
    created_by_name TEXT   NOT NULL,
    tenant          TEXT,
    created_at      BIGINT NOT NULL,
    operation_type  TEXT   NOT NULL,
    -- What each host is told: parameters, environment and the like. Large, and read for one operation only.
    parameters      TEXT   NOT NULL,
    execution       TEXT   NOT NULL,
    -- What was asked; what it selected is frozen in the set.
    selector        TEXT   NOT NULL,
    digest          TEXT   NOT NULL,
    -- Time limits, concurrency and the like, as shown in lists.
    terms           TEXT   NOT NULL,
    reason          TEXT,
    -- Follows the set's counters, for filters only: the truth is computed from the set.
    status          TEXT   NOT NULL
        CHECK (status IN ('queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled')),
    -- The set's revision that status was computed from.
    status_revision BIGINT NOT NULL
);
CREATE INDEX bulk_operations_by_time ON bulk_operations (created_at, id);
CREATE INDEX bulk_operations_by_type ON bulk_operations (operation_type, created_at, id);
CREATE INDEX bulk_operations_by_status ON bulk_operations (status, created_at, id);
CREATE INDEX bulk_operations_open ON bulk_operations (id) WHERE status IN ('queued', 'running');
