-- One row for each rolling deployment, and what is remembered of its batches and moves. Its hosts, their results and its
-- counters are the core's command sets. Times are microseconds since the Unix epoch; ids are the 16 bytes of a UUID.
CREATE TABLE rolling_deployments (
    id              BYTEA  NOT NULL PRIMARY KEY,
    set_id          BYTEA  NOT NULL,
    -- The set of its rollback, once there is one.
    rollback_set_id BYTEA,
    created_by      TEXT   NOT NULL,
    created_by_name TEXT   NOT NULL,
    tenant          TEXT,
    created_at      BIGINT NOT NULL,
    finished_at     BIGINT,
    operation_type  TEXT   NOT NULL,
    digest          TEXT   NOT NULL,
    reason          TEXT,
    -- What was asked, as shown in lists; and what decisions make of it.
    terms           TEXT   NOT NULL,
    policy          TEXT   NOT NULL,
    -- Large, and read for one deployment only: what hosts are told, what was selected, what a rollback runs.
    parameters      TEXT   NOT NULL,
    execution       TEXT   NOT NULL,
    selector        TEXT   NOT NULL,
    rollback        TEXT,
    -- The name of the state in `machine`, for filters.
    state           TEXT   NOT NULL
        CHECK (state IN ('queued', 'running', 'awaiting_approval', 'paused', 'halting', 'cancelling', 'rolling_back',
                         'succeeded', 'partial', 'failed', 'cancelled', 'rolled_back', 'rollback_failed')),
    -- Everything that changes, as the decision reads it.
    machine         TEXT   NOT NULL,
    -- Rises with every write; a write of an older one changes nothing.
    generation      BIGINT NOT NULL
);
CREATE INDEX rolling_deployments_by_time ON rolling_deployments (created_at, id);
CREATE INDEX rolling_deployments_by_type ON rolling_deployments (operation_type, created_at, id);
CREATE INDEX rolling_deployments_by_state ON rolling_deployments (state, created_at, id);
CREATE INDEX rolling_deployments_open ON rolling_deployments (id)
    WHERE state IN ('queued', 'running', 'awaiting_approval', 'paused', 'halting', 'cancelling', 'rolling_back');

-- Batches that were dispatched.
CREATE TABLE rolling_batches (
    deployment_id BYTEA  NOT NULL,
    number        BIGINT NOT NULL,
    size          BIGINT NOT NULL,
    dispatched_at BIGINT NOT NULL,
    finished_at   BIGINT,
    succeeded     BIGINT NOT NULL DEFAULT 0,
    failed        BIGINT NOT NULL DEFAULT 0,
    unreachable   BIGINT NOT NULL DEFAULT 0,
    skipped       BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (deployment_id, number)
);

-- Every move from one state to another, with its cause.
CREATE TABLE rolling_trace (
    deployment_id BYTEA  NOT NULL,
    -- Of the deployment, after the move.
    generation    BIGINT NOT NULL,
    at            BIGINT NOT NULL,
    from_state    TEXT   NOT NULL,
    to_state      TEXT   NOT NULL,
    cause         TEXT   NOT NULL,
    -- Who asked for it; the module itself, if nobody did.
    principal     TEXT   NOT NULL,
    PRIMARY KEY (deployment_id, generation)
);

-- Where the batches of a rollback end in its set, in the order they run: last batch first.
CREATE TABLE rolling_rollback_batches (
    deployment_id BYTEA  NOT NULL,
    end_ordinal   BIGINT NOT NULL,
    number        BIGINT NOT NULL,
    PRIMARY KEY (deployment_id, end_ordinal)
);
