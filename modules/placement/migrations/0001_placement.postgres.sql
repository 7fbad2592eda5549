-- Nodes and placements, jobs with factories, budgets. Ids are the 16 bytes of a UUID. Times named *_at are microseconds of the wall
-- clock, since the Unix epoch, for people; those named *_lease are microseconds of the server's lease clock, for what is waited for.
-- Money is in micro-USD. A tenant is '' where there is none.

-- What an operator decided about a host as capacity, and what its agent said last.
CREATE TABLE placement_node (
    host_id        BYTEA  NOT NULL PRIMARY KEY,
    -- NULL: as the inventory says.
    reserved       BIGINT CHECK (reserved IN (0, 1)),
    schedulable    BIGINT NOT NULL DEFAULT 1 CHECK (schedulable IN (0, 1)),
    -- JSON; NULL until a heartbeat was saved.
    capacity       TEXT,
    saved_at       BIGINT,
    -- Rises with all that happens to it and its placements: a decision made on an older one is made again.
    generation     BIGINT NOT NULL DEFAULT 0,
    -- The count of all such changes of all nodes at its last one: who follows them asks for what is above.
    changed        BIGINT NOT NULL DEFAULT 0,
    revision       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX placement_node_changed ON placement_node (changed);

-- One row: how many changes there were. Whoever counts one holds the row until it commits, so that none appears behind a higher one.
CREATE TABLE placement_changes (
    id             BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    value          BIGINT NOT NULL
);
INSERT INTO placement_changes (id, value) VALUES (1, 0);

CREATE TABLE placement_tenant (
    tenant_id         TEXT   NOT NULL PRIMARY KEY,
    -- NULL: without a limit.
    vm_count_max      BIGINT,
    memory_mb_max     BIGINT,
    -- Of its live placements.
    vm_count          BIGINT NOT NULL DEFAULT 0,
    memory_mb         BIGINT NOT NULL DEFAULT 0,
    revision          BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE placement_placement (
    id             BYTEA  NOT NULL PRIMARY KEY,
    tenant_id      TEXT   NOT NULL,
    vm_id          TEXT   NOT NULL,
    host_id        BYTEA  NOT NULL,
    memory_mb      BIGINT NOT NULL,
    vcpus          BIGINT NOT NULL,
    require_kvm    BIGINT NOT NULL CHECK (require_kvm IN (0, 1)),
    -- JSON; only kept.
    labels         TEXT   NOT NULL,
    pass           BIGINT NOT NULL CHECK (pass IN (1, 2)),
    state          TEXT   NOT NULL CHECK (state IN ('held', 'confirmed', 'expired', 'released', 'lost')),
    reason         TEXT,
    created_at     BIGINT NOT NULL,
    created_by     TEXT   NOT NULL,
    expires_lease  BIGINT NOT NULL,
    -- The same, for people.
    expires_at     BIGINT NOT NULL,
    confirmed_at   BIGINT,
    ended_at       BIGINT,
    revision       BIGINT NOT NULL
);
-- What a heartbeat names is one VM; and a tenant's names are its own.
CREATE UNIQUE INDEX placement_placement_vm ON placement_placement (host_id, vm_id) WHERE state IN ('held', 'confirmed');
CREATE UNIQUE INDEX placement_placement_name ON placement_placement (tenant_id, vm_id) WHERE state IN ('held', 'confirmed');
CREATE INDEX placement_placement_live ON placement_placement (host_id) WHERE state IN ('held', 'confirmed');
CREATE INDEX placement_placement_held ON placement_placement (expires_lease) WHERE state = 'held';
CREATE INDEX placement_placement_tenant ON placement_placement (tenant_id, id);
CREATE INDEX placement_placement_vms ON placement_placement (tenant_id, id) WHERE state IN ('held', 'confirmed');
CREATE INDEX placement_placement_host ON placement_placement (host_id, id);
CREATE INDEX placement_placement_old ON placement_placement (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE placement_product (
    tenant_id      TEXT   NOT NULL,
    product_id     TEXT   NOT NULL,
    -- JSON of the weights that are set.
    weights        TEXT   NOT NULL,
    revision       BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, product_id)
);

-- First-in-first-out queues: what is alike in all that its score depends on but its age.
CREATE TABLE placement_bucket (
    id             BYTEA  NOT NULL PRIMARY KEY,
    tenant_id      TEXT   NOT NULL,
    product_id     TEXT   NOT NULL,
    -- JSON list of the required capabilities, sorted.
    capabilities   TEXT   NOT NULL,
    priority       BIGINT NOT NULL,
    attempts       BIGINT NOT NULL,
    -- How many wait in it.
    queued         BIGINT NOT NULL
);
CREATE INDEX placement_bucket_waiting ON placement_bucket (product_id) WHERE queued > 0;

CREATE TABLE placement_job (
    id               BYTEA  NOT NULL PRIMARY KEY,
    tenant_id        TEXT   NOT NULL,
    idempotency_key  TEXT   NOT NULL,
    -- SHA-256 of what was asked, in hex: the same key with another body is refused.
    request_digest   TEXT   NOT NULL,
    product_id       TEXT   NOT NULL,
    kind             TEXT   NOT NULL,
    -- 0 low, 1 normal, 2 high, 3 critical.
    priority         BIGINT NOT NULL CHECK (priority BETWEEN 0 AND 3),
    -- JSON list, sorted.
    capabilities     TEXT   NOT NULL,
    -- None: it waits only for others and has no work of its own.
    has_work         BIGINT NOT NULL CHECK (has_work IN (0, 1)),
    estimate_micros  BIGINT NOT NULL DEFAULT 0,
    max_attempts     BIGINT NOT NULL,
    attempts         BIGINT NOT NULL DEFAULT 0,
    preemptions      BIGINT NOT NULL DEFAULT 0,
    stage            TEXT   NOT NULL,
    -- Why it is in its stage, where that is worth saying.
    reason           TEXT,
    -- A review that was given up to a human: no lease, no seat.
    released         BIGINT NOT NULL DEFAULT 0 CHECK (released IN (0, 1)),
    -- It was interrupted after saying where it stood.
    checkpoint       TEXT,
    -- How many dependencies are neither shipped nor waived.
    waits_for        BIGINT NOT NULL DEFAULT 0,
    parent_id        BYTEA,
    bucket_id        BYTEA  NOT NULL,
    -- The lease: who holds it since when and until when; none where nobody does.
    lease_epoch      BIGINT NOT NULL DEFAULT 0,
    factory_id       BYTEA,
    claim_id         TEXT,
    claimed_at       BIGINT,
    expires_lease    BIGINT,
    created_at       BIGINT NOT NULL,
    created_by       TEXT   NOT NULL,
    created_by_name  TEXT   NOT NULL,
    updated_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    -- Rises by one with every change; a change's event has the same number.
    revision         BIGINT NOT NULL
);
CREATE UNIQUE INDEX placement_job_key ON placement_job (tenant_id, idempotency_key);
CREATE INDEX placement_job_queue ON placement_job (bucket_id, created_at, id) WHERE stage = 'queued';
CREATE INDEX placement_job_held ON placement_job (factory_id) WHERE factory_id IS NOT NULL;
CREATE INDEX placement_job_lease ON placement_job (expires_lease) WHERE expires_lease IS NOT NULL;
CREATE INDEX placement_job_stage ON placement_job (stage, id);
CREATE INDEX placement_job_tenant ON placement_job (tenant_id, id);
CREATE INDEX placement_job_product ON placement_job (product_id, id);
CREATE INDEX placement_job_parent ON placement_job (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX placement_job_old ON placement_job (ended_at) WHERE ended_at IS NOT NULL;

-- What a job is about; apart, because lists and claims of many do not read it.
CREATE TABLE placement_job_body (
    job_id   BYTEA NOT NULL PRIMARY KEY,
    body_md  TEXT NOT NULL
);

CREATE TABLE placement_dependency (
    job_id         BYTEA  NOT NULL,
    dependency_id  BYTEA  NOT NULL,
    -- A child, or only something to wait for.
    child          BIGINT NOT NULL CHECK (child IN (0, 1)),
    -- Shipped or waived: it is waited for no more.
    settled        BIGINT NOT NULL DEFAULT 0 CHECK (settled IN (0, 1)),
    waived         BIGINT NOT NULL DEFAULT 0 CHECK (waived IN (0, 1)),
    PRIMARY KEY (job_id, dependency_id)
);
CREATE INDEX placement_dependency_of ON placement_dependency (dependency_id);
CREATE INDEX placement_dependency_open ON placement_dependency (dependency_id, job_id) WHERE settled = 0;

-- How many jobs a tree has: those that have children somewhere below. One without a row is a job alone.
CREATE TABLE placement_tree (
    root_id  BYTEA  NOT NULL PRIMARY KEY,
    jobs     BIGINT NOT NULL
);

-- Rises when jobs that are there come to wait for others that are there: whoever saw no circle at an older generation looks again.
CREATE TABLE placement_graph (
    tenant_id   TEXT   NOT NULL PRIMARY KEY,
    generation  BIGINT NOT NULL
);

CREATE TABLE placement_job_event (
    job_id      BYTEA  NOT NULL,
    -- The job's revision after it.
    sequence    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    type        TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    from_stage  TEXT,
    to_stage    TEXT   NOT NULL,
    -- JSON of what else there is to say.
    data        TEXT   NOT NULL,
    PRIMARY KEY (job_id, sequence)
);

-- Kept counts, so that nothing is counted when somebody asks.
CREATE TABLE placement_job_count (
    tenant_id   TEXT   NOT NULL,
    product_id  TEXT   NOT NULL,
    stage       TEXT   NOT NULL,
    jobs        BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, product_id, stage)
);

CREATE TABLE placement_run (
    id          BYTEA  NOT NULL PRIMARY KEY,
    job_id      BYTEA  NOT NULL,
    lease_epoch BIGINT NOT NULL,
    factory_id  BYTEA  NOT NULL,
    started_at  BIGINT,
    ended_at    BIGINT,
    outcome     TEXT   NOT NULL,
    -- JSON
    data        TEXT   NOT NULL,
    recorded_at BIGINT NOT NULL
);
CREATE INDEX placement_run_job ON placement_run (job_id, id);

CREATE TABLE placement_artifact (
    id          BYTEA  NOT NULL PRIMARY KEY,
    job_id      BYTEA  NOT NULL,
    lease_epoch BIGINT NOT NULL,
    name        TEXT   NOT NULL,
    -- JSON
    data        TEXT   NOT NULL,
    recorded_at BIGINT NOT NULL,
    UNIQUE (job_id, name)
);

CREATE TABLE placement_factory (
    id             BYTEA  NOT NULL PRIMARY KEY,
    tenant_id      TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    -- JSON list, sorted.
    capabilities   TEXT   NOT NULL,
    seat_limit     BIGINT NOT NULL,
    seats_used     BIGINT NOT NULL DEFAULT 0,
    -- When it was last heard of.
    seen_lease     BIGINT NOT NULL,
    seen_at        BIGINT NOT NULL,
    registered_at  BIGINT NOT NULL,
    registered_by  TEXT   NOT NULL,
    revision       BIGINT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX placement_factory_seen ON placement_factory (seen_lease);

-- Claims by the names that claimers gave them: one asked again gives the same job.
CREATE TABLE placement_claim (
    factory_id   BYTEA  NOT NULL,
    claim_id     TEXT   NOT NULL,
    job_id       BYTEA  NOT NULL,
    lease_epoch  BIGINT NOT NULL,
    claimed_at   BIGINT NOT NULL,
    PRIMARY KEY (factory_id, claim_id)
);
CREATE INDEX placement_claim_old ON placement_claim (claimed_at);

CREATE TABLE placement_budget (
    product_id      TEXT   NOT NULL PRIMARY KEY,
    ceiling_micros  BIGINT NOT NULL,
    -- Named period, because the other word is PostgreSQL's.
    period          TEXT   NOT NULL CHECK (period IN ('daily', 'weekly', 'monthly', 'total')),
    -- Of the window that is counted now, wall clock; the end of a total budget is NULL.
    starts_at       BIGINT NOT NULL,
    ends_at         BIGINT,
    spent_micros    BIGINT NOT NULL,
    reserved_micros BIGINT NOT NULL,
    paused_by       TEXT   CHECK (paused_by IN ('manual', 'ceiling')),
    paused_at       BIGINT,
    paused_by_name  TEXT,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    revision        BIGINT NOT NULL
);
CREATE INDEX placement_budget_ends ON placement_budget (ends_at) WHERE ends_at IS NOT NULL;

-- What a claim has set aside and not yet spent; gone with its lease.
CREATE TABLE placement_reservation (
    job_id       BYTEA  NOT NULL,
    lease_epoch  BIGINT NOT NULL,
    product_id   TEXT   NOT NULL,
    rest_micros  BIGINT NOT NULL,
    PRIMARY KEY (job_id, lease_epoch)
);

CREATE TABLE placement_spend (
    product_id     TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    amount_micros  BIGINT NOT NULL,
    job_id         BYTEA,
    lease_epoch    BIGINT,
    -- What of it had been reserved.
    consumed_micros BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL,
    PRIMARY KEY (product_id, key)
);

CREATE TABLE placement_spend_day (
    product_id     TEXT   NOT NULL,
    -- Days since the Unix epoch, UTC.
    day            BIGINT NOT NULL,
    amount_micros  BIGINT NOT NULL,
    PRIMARY KEY (product_id, day)
);
