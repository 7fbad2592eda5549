-- What tells a machine from a copy of it: the session that a host began last, with who began it; the last time that two
-- machines were met with one identity; and the sessions and certificates of those that an operator decided against.
-- All are JSON; the first is compared as it stands.

ALTER TABLE hosts ADD COLUMN last_session TEXT;
ALTER TABLE hosts ADD COLUMN conflict TEXT;
ALTER TABLE hosts ADD COLUMN refused TEXT NOT NULL DEFAULT '[]';
