-- What a host says of itself is a claim: it selects nothing until a person takes it over. Hosts that were approved before keep
-- what selected them that day: a selection that changes by an upgrade would run operations on other hosts than before.

ALTER TABLE hosts ADD COLUMN pinned_names TEXT;
ALTER TABLE hosts ADD COLUMN agent_cut TEXT NOT NULL DEFAULT '[]';

UPDATE hosts SET
    pinned_names = json_object('fqdn', fqdn, 'hostname', hostname),
    tags = (
        SELECT json_group_array(tag) FROM (
            SELECT value AS tag FROM json_each(hosts.tags)
            UNION SELECT value FROM json_each(hosts.agent_tags) ORDER BY 1
        )
    ),
    attributes = json_patch(agent_attributes, attributes)
WHERE approval_status = 'approved';

DELETE FROM host_tags;
INSERT INTO host_tags (tag, host_id) SELECT DISTINCT each_tag.value, hosts.id FROM hosts, json_each(hosts.tags) AS each_tag;
