-- People, their sessions, API tokens; the audit log; responses kept for idempotency keys.
-- Times are microseconds since the Unix epoch; ids are the 16 bytes of a UUID; booleans are 0 and 1.

CREATE TABLE users (
    id            BYTEA   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL UNIQUE,
    role          TEXT   NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    -- argon2id, in PHC text form.
    password_hash TEXT   NOT NULL,
    disabled      BIGINT NOT NULL DEFAULT 0,
    revision      BIGINT NOT NULL DEFAULT 1,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

-- One per log-in. Ends by log-out, by expiry, when its user changes, or when a refresh token is used twice.
CREATE TABLE sessions (
    id         BYTEA   NOT NULL PRIMARY KEY,
    user_id    BYTEA   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Every refresh token of a session, used ones too: a second use of one means that it was stolen.
CREATE TABLE refresh_tokens (
    token_sha256 BYTEA   NOT NULL PRIMARY KEY,
    session_id   BYTEA   NOT NULL,
    created_at   BIGINT NOT NULL,
    used_at      BIGINT
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE api_tokens (
    id           BYTEA   NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL,
    token_sha256 BYTEA   NOT NULL UNIQUE,
    -- The first characters, for people to tell tokens apart.
    prefix       TEXT   NOT NULL,
    role         TEXT   NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    -- A JSON list; empty means no restriction beyond the role.
    scopes       TEXT   NOT NULL,
    tenant       TEXT,
    created_by   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);

CREATE TABLE audit (
    sequence       BIGINT NOT NULL PRIMARY KEY,
    at             BIGINT NOT NULL,
    request_id     TEXT   NOT NULL,
    principal      TEXT   NOT NULL,
    principal_name TEXT   NOT NULL,
    tenant         TEXT,
    address        TEXT   NOT NULL,
    action         TEXT   NOT NULL,
    target_kind    TEXT   NOT NULL,
    target_id      TEXT   NOT NULL,
    detail         TEXT   NOT NULL,
    -- SHA-256 over the row and the digest of the one before it.
    digest         BYTEA   NOT NULL
);
CREATE INDEX audit_by_target ON audit (target_id, sequence);
CREATE INDEX audit_by_principal ON audit (principal, sequence);
CREATE INDEX audit_by_action ON audit (action, sequence);

-- The newest row and the newest deleted row, so that rows missing at either end are noticed.
CREATE TABLE audit_anchors (
    name     TEXT   NOT NULL PRIMARY KEY CHECK (name IN ('head', 'floor')),
    sequence BIGINT NOT NULL,
    digest   BYTEA   NOT NULL
);
INSERT INTO audit_anchors (name, sequence, digest) VALUES
    ('head', 0, decode(repeat('00', 32), 'hex')),
    ('floor', 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE idempotency_records (
    principal   TEXT   NOT NULL,
    key         TEXT   NOT NULL,
    -- SHA-256 over method, path and body.
    fingerprint BYTEA   NOT NULL,
    status      BIGINT NOT NULL,
    headers     TEXT   NOT NULL,
    body        TEXT   NOT NULL,
    expires_at  BIGINT NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_records_by_expiry ON idempotency_records (expires_at);
