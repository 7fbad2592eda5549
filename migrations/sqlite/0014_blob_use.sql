-- Uploaded content that nothing refers to is removed some time after it was last uploaded or seen referred to.
ALTER TABLE blobs ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0;
UPDATE blobs SET used_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000;
CREATE INDEX blobs_by_use ON blobs (used_at);
CREATE INDEX blobs_by_creation ON blobs (created_at, sha256);
-- The few operations that name content, so that nobody reads all the others to find out.
CREATE INDEX command_set_contents_with_blobs ON command_set_contents (set_id)
    WHERE instr(operation, '"blob_sha256"') > 0;
