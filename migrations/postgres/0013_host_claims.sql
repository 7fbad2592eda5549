-- What a host says of itself is a claim: it selects nothing until a person takes it over. Hosts that were approved before keep
-- what selected them that day: a selection that changes by an upgrade would run operations on other hosts than before.

ALTER TABLE hosts ADD COLUMN pinned_names TEXT;
ALTER TABLE hosts ADD COLUMN agent_cut TEXT NOT NULL DEFAULT '[]';

UPDATE hosts SET
    pinned_names = CAST(json_build_object('fqdn', fqdn, 'hostname', hostname) AS TEXT),
    tags = (
        SELECT COALESCE(CAST(json_agg(tag ORDER BY tag COLLATE "C") AS TEXT), '[]') FROM (
            SELECT json_array_elements_text(CAST(hosts.tags AS json)) AS tag
            UNION SELECT json_array_elements_text(CAST(hosts.agent_tags AS json))
        ) AS every_tag
    ),
    attributes = CAST(CAST(agent_attributes AS jsonb) || CAST(attributes AS jsonb) AS TEXT)
WHERE approval_status = 'approved';

DELETE FROM host_tags;
INSERT INTO host_tags (tag, host_id)
SELECT DISTINCT each_tag.tag, hosts.id FROM hosts, json_array_elements_text(CAST(hosts.tags AS json)) AS each_tag(tag);
