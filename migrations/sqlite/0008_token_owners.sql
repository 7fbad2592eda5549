-- Whose an API token is: the user who made it, or whose token made it. It dies with that user and has no more rights than
-- they have. NULL: made before this was kept, by somebody who is not known any more or had fewer rights by then.
ALTER TABLE api_tokens ADD COLUMN owner_id BLOB;
-- The token that made it, and takes it along when it is revoked.
ALTER TABLE api_tokens ADD COLUMN parent_id BLOB;

UPDATE api_tokens SET parent_id = unhex(substr(created_by, 7), '-') WHERE created_by LIKE 'token:%';
-- Only where nothing changes for whoever uses the token.
UPDATE api_tokens SET owner_id = unhex(substr(created_by, 6), '-')
WHERE created_by LIKE 'user:%' AND EXISTS (
    SELECT 1 FROM users u
    WHERE u.id = unhex(substr(api_tokens.created_by, 6), '-') AND u.disabled = 0
      AND (u.role = 'admin' OR u.role = api_tokens.role OR api_tokens.role = 'viewer'));
-- Only administrators make tokens, so what theirs have made has no more rights than they have.
WITH RECURSIVE owned (id, owner_id) AS (
    SELECT t.id, t.owner_id FROM api_tokens t JOIN users u ON u.id = t.owner_id WHERE u.role = 'admin'
    UNION
    SELECT t.id, o.owner_id FROM api_tokens t JOIN owned o ON t.parent_id = o.id)
UPDATE api_tokens SET owner_id = (SELECT o.owner_id FROM owned o WHERE o.id = api_tokens.id)
WHERE owner_id IS NULL;

CREATE INDEX api_tokens_by_owner ON api_tokens (owner_id);
CREATE INDEX api_tokens_by_parent ON api_tokens (parent_id);
