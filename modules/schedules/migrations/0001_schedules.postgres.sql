-- Schedules, the groups their selectors name, and their runs. Hosts and results are those of the launched operations.
-- Times are microseconds since the Unix epoch; ids are the 16 bytes of a UUID.
CREATE TABLE schedules_schedule (
    id              BYTEA  NOT NULL PRIMARY KEY,
    name            TEXT   NOT NULL,
    -- The name in lower ASCII case.
    name_key        TEXT   NOT NULL UNIQUE,
    cron            TEXT   NOT NULL,
    timezone        TEXT   NOT NULL,
    enabled         BIGINT NOT NULL CHECK (enabled IN (0, 1)),
    kind            TEXT   NOT NULL CHECK (kind IN ('bulk', 'rolling')),
    operation_type  TEXT   NOT NULL,
    -- In canonical form, with groups by id.
    selector        TEXT   NOT NULL,
    parameters      TEXT   NOT NULL,
    options         TEXT   NOT NULL,
    overlap_policy  TEXT   NOT NULL CHECK (overlap_policy IN ('forbid', 'allow', 'replace')),
    misfire_policy  TEXT   NOT NULL CHECK (misfire_policy IN ('fire_once', 'skip')),
    jitter_seconds  BIGINT NOT NULL,
    starts_at       BIGINT,
    ends_at         BIGINT,
    created_by      TEXT   NOT NULL,
    created_by_name TEXT   NOT NULL,
    -- As whom it launches: who saved it last.
    owner           TEXT   NOT NULL,
    owner_name      TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    revision        BIGINT NOT NULL,
    -- The next fire: its nominal time and, with the jitter, when it is due. None: it does not fire (any more).
    next_nominal_at BIGINT,
    next_due_at     BIGINT,
    -- When the next fire was computed: a clock that shows an earlier time was set back.
    computed_at     BIGINT NOT NULL,
    -- Rises with every change of the next fire.
    generation      BIGINT NOT NULL,
    -- How often one of its runs was decided to be launched, and which one was last: who decides has seen all before it.
    launches        BIGINT NOT NULL DEFAULT 0,
    launching_run   BYTEA
);
CREATE INDEX schedules_schedule_due ON schedules_schedule (next_due_at) WHERE next_due_at IS NOT NULL;
CREATE INDEX schedules_schedule_computed ON schedules_schedule (computed_at) WHERE next_due_at IS NOT NULL;

-- The groups that a schedule's selector names.
CREATE TABLE schedules_group (
    group_id    BYTEA NOT NULL,
    schedule_id BYTEA NOT NULL,
    PRIMARY KEY (group_id, schedule_id)
);
CREATE INDEX schedules_group_of_schedule ON schedules_group (schedule_id);

CREATE TABLE schedules_run (
    -- Also the id of the operation it launches; made of the next two.
    id           BYTEA  NOT NULL PRIMARY KEY,
    schedule_id  BYTEA  NOT NULL,
    nominal_at   BIGINT NOT NULL,
    cause        TEXT   NOT NULL CHECK (cause IN ('cron', 'manual')),
    kind         TEXT   NOT NULL CHECK (kind IN ('bulk', 'rolling')),
    -- As whom it launches.
    principal    TEXT   NOT NULL,
    recorded_at  BIGINT NOT NULL,
    launched_at  BIGINT,
    finished_at  BIGINT,
    -- pending: nothing is decided; launching: it is to be launched; launched: its operation is there; ended.
    phase        TEXT   NOT NULL CHECK (phase IN ('pending', 'launching', 'launched', 'ended')),
    -- Once launched that of its operation.
    status       TEXT   NOT NULL,
    reason       TEXT,
    UNIQUE (schedule_id, nominal_at)
);
CREATE INDEX schedules_run_waiting ON schedules_run (phase, nominal_at, id) WHERE phase IN ('pending', 'launching');
CREATE INDEX schedules_run_launched ON schedules_run (id) WHERE phase = 'launched';
CREATE INDEX schedules_run_open ON schedules_run (schedule_id) WHERE phase <> 'ended';
CREATE INDEX schedules_run_old ON schedules_run (recorded_at) WHERE phase = 'ended';
