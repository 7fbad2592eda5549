-- Whose an API token is: the user who made it, or whose token made it. It dies with that user and has no more rights than
-- they have. NULL: made before this was kept, by somebody who is not known any more or had fewer rights by then.
ALTER TABLE api_tokens ADD COLUMN owner_id BYTEA;
-- The token that made it, and takes it along when it is revoked.
ALTER TABLE api_tokens ADD COLUMN parent_id BYTEA;

UPDATE api_tokens SET parent_id = p.id FROM api_tokens p
WHERE replace(api_tokens.created_by, '-', '') = 'token:' || encode(p.id, 'hex');
-- Only where nothing changes for whoever uses the token.
UPDATE api_tokens SET owner_id = u.id FROM users u
WHERE replace(api_tokens.created_by, '-', '') = 'user:' || encode(u.id, 'hex') AND u.disabled = 0
  AND (u.role = 'admin' OR u.role = api_tokens.role OR api_tokens.role = 'viewer');
-- Only administrators make tokens, so what theirs have made has no more rights than they have.
WITH RECURSIVE owned (id, owner_id) AS (
    SELECT t.id, t.owner_id FROM api_tokens t JOIN users u ON u.id = t.owner_id WHERE u.role = 'admin'
    UNION
    SELECT t.id, o.owner_id FROM api_tokens t JOIN owned o ON t.parent_id = o.id)
UPDATE api_tokens SET owner_id = o.owner_id FROM owned o
WHERE o.id = api_tokens.id AND api_tokens.owner_id IS NULL;

CREATE INDEX api_tokens_by_owner ON api_tokens (owner_id);
CREATE INDEX api_tokens_by_parent ON api_tokens (parent_id);
