-- The audit log's anchors are authenticated with a key that is not in the database, and its newest row is signed every
-- hour: retention cuts only where a signature is.

ALTER TABLE audit_anchors ADD COLUMN mac BYTEA;
-- The key that `mac` was made with; null until the log first had one.
ALTER TABLE audit_anchors ADD COLUMN key_id TEXT;

CREATE TABLE audit_heads (
    sequence  BIGINT NOT NULL PRIMARY KEY,
    digest    BYTEA  NOT NULL,
    -- Both times as they were signed.
    row_at    TEXT   NOT NULL,
    at        TEXT   NOT NULL,
    key_id    TEXT   NOT NULL,
    signature TEXT   NOT NULL
);
