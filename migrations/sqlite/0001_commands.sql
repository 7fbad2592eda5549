-- Hosts, and the durable units of delivery: command sets and commands.
-- Times are microseconds since the Unix epoch; ids are the 16 bytes of a UUID; booleans are 0 and 1.

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO settings (name, value) VALUES ('hosts_revision', '0');

CREATE TABLE hosts (
    id                     BLOB   NOT NULL PRIMARY KEY,
    revision               BIGINT NOT NULL,
    approval_status        TEXT   NOT NULL CHECK (approval_status IN ('pending', 'approved', 'rejected')),
    status                 TEXT   NOT NULL CHECK (status IN ('online', 'offline')),
    reserved               BIGINT NOT NULL DEFAULT 0,
    created_at             BIGINT NOT NULL,
    last_seen_at           BIGINT,
    -- The FQDN (or host name) in lower case, compared byte by byte: what people search by.
    search_name            TEXT   NOT NULL DEFAULT '',
    -- Facts, as the agent reports them.
    fqdn                   TEXT,
    hostname               TEXT,
    platform               TEXT,
    platform_release       TEXT,
    platform_version       TEXT,
    architecture           TEXT,
    agent_version          TEXT,
    cpu_count              BIGINT,
    memory_total_mb        BIGINT,
    kvm_available          BIGINT,
    ipv4                   TEXT   NOT NULL DEFAULT '[]',
    ipv6                   TEXT   NOT NULL DEFAULT '[]',
    -- What the operator set, and what the agent says; a host has the union, the operator's value first.
    tags                   TEXT   NOT NULL DEFAULT '[]',
    agent_tags             TEXT   NOT NULL DEFAULT '[]',
    attributes             TEXT   NOT NULL DEFAULT '{}',
    agent_attributes       TEXT   NOT NULL DEFAULT '{}',
    -- Identity: the certificate generation that may connect, the key it is for, and the one issued next.
    certificate_generation BIGINT NOT NULL DEFAULT 1,
    certificate_key        BLOB,
    next_generation        BIGINT,
    next_key               BLOB,
    locked_reason          TEXT,
    -- The enrolment token of the host's latest enrolment.
    enrolled_with          BLOB,
    -- The agent's journal; another one means that its disk was lost.
    journal_id             BLOB
);
CREATE INDEX hosts_by_revision ON hosts (revision);
CREATE INDEX hosts_by_name ON hosts (search_name, id);
CREATE INDEX hosts_by_key ON hosts (certificate_key);
CREATE INDEX hosts_by_next_key ON hosts (next_key) WHERE next_key IS NOT NULL;
CREATE INDEX hosts_by_status ON hosts (status, id);
CREATE INDEX hosts_by_approval ON hosts (approval_status, id);

CREATE TABLE host_tags (
    tag     TEXT NOT NULL,
    host_id BLOB NOT NULL,
    PRIMARY KEY (tag, host_id)
);
CREATE INDEX host_tags_by_host ON host_tags (host_id);

-- Deleted hosts, so that followers of the inventory feed learn of them.
CREATE TABLE host_tombstones (
    id       BLOB   NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
CREATE INDEX host_tombstones_by_revision ON host_tombstones (revision);

CREATE TABLE command_sets (
    id                BLOB   NOT NULL PRIMARY KEY,
    owner             TEXT   NOT NULL,
    created_by        TEXT   NOT NULL,
    operation_type    TEXT   NOT NULL,
    timeout_seconds   BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    expires_at        BIGINT NOT NULL,
    started_at        BIGINT,
    finished_at       BIGINT,
    max_running       BIGINT NOT NULL,
    paused            BIGINT NOT NULL DEFAULT 0,
    cancel            TEXT   NOT NULL DEFAULT 'none' CHECK (cancel IN ('none', 'finish', 'kill')),
    cancel_reason     TEXT,
    -- Rows are born held instead of queued, until released.
    born_held         BIGINT NOT NULL DEFAULT 0,
    -- How many of the frozen hosts, in order, have rows.
    materialised      BIGINT NOT NULL DEFAULT 0,
    -- Sent and not yet resolved: the slots taken out of max_running.
    in_flight         BIGINT NOT NULL DEFAULT 0,
    generation        BIGINT NOT NULL DEFAULT 1,
    revision          BIGINT NOT NULL DEFAULT 1,
    total             BIGINT NOT NULL,
    held              BIGINT NOT NULL,
    queued            BIGINT NOT NULL,
    running           BIGINT NOT NULL DEFAULT 0,
    succeeded         BIGINT NOT NULL DEFAULT 0,
    failed            BIGINT NOT NULL DEFAULT 0,
    skipped           BIGINT NOT NULL DEFAULT 0,
    skipped_cancelled BIGINT NOT NULL DEFAULT 0,
    CHECK (held + queued + running + succeeded + failed + skipped = total),
    CHECK (held >= 0 AND queued >= 0 AND running >= 0 AND in_flight >= 0)
);
CREATE INDEX command_sets_open ON command_sets (expires_at) WHERE finished_at IS NULL;
CREATE INDEX command_sets_unwritten ON command_sets (id) WHERE materialised < total;
CREATE INDEX command_sets_finished ON command_sets (finished_at) WHERE finished_at IS NOT NULL;

-- The heavy, unchanging part of a set, apart from the counters that change all the time.
CREATE TABLE command_set_contents (
    set_id    BLOB NOT NULL PRIMARY KEY,
    -- {"operation_type", "parameters", "options"} as sent to every agent.
    operation TEXT NOT NULL,
    -- The frozen host ids, 16 bytes each, in order.
    host_ids  BLOB NOT NULL,
    -- [[ordinal, reason], …] of the hosts skipped at creation, in order.
    skips     TEXT NOT NULL
);

CREATE TABLE commands (
    id               BLOB   NOT NULL PRIMARY KEY,
    set_id           BLOB   NOT NULL,
    ordinal          BIGINT NOT NULL,
    host_id          BLOB   NOT NULL,
    status           TEXT   NOT NULL
        CHECK (status IN ('held', 'queued', 'running', 'succeeded', 'failed', 'skipped')),
    reason           TEXT,
    attempt          BIGINT NOT NULL DEFAULT 1,
    cancel_requested BIGINT NOT NULL DEFAULT 0,
    kill_requested   BIGINT NOT NULL DEFAULT 0,
    created_at       BIGINT NOT NULL,
    -- When this attempt was handed to a connection; null while it waits.
    sent_at          BIGINT,
    -- Whether it holds one of the set's slots.
    slot             BIGINT NOT NULL DEFAULT 0,
    -- When the sweep must look at it next.
    due_at           BIGINT,
    started_at       BIGINT,
    finished_at      BIGINT,
    exit_code        BIGINT,
    changed          BIGINT,
    message          TEXT,
    late_result      TEXT
);
CREATE UNIQUE INDEX commands_by_set ON commands (set_id, ordinal);
CREATE INDEX commands_by_host ON commands (host_id, id);
CREATE INDEX commands_open_by_host ON commands (host_id) WHERE status IN ('queued', 'running');
CREATE INDEX commands_waiting ON commands (set_id, ordinal) WHERE status = 'queued' AND sent_at IS NULL;
CREATE INDEX commands_due ON commands (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE command_outputs (
    command_id    BLOB   NOT NULL PRIMARY KEY,
    stdout_head   BLOB   NOT NULL,
    stdout_tail   BLOB   NOT NULL,
    stdout_bytes  BIGINT NOT NULL,
    stdout_sha256 TEXT   NOT NULL,
    stderr_head   BLOB   NOT NULL,
    stderr_tail   BLOB   NOT NULL,
    stderr_bytes  BIGINT NOT NULL,
    stderr_sha256 TEXT   NOT NULL
);
