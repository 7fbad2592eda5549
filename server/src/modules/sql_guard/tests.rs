//! What a module's SQL may and may not touch.

use super::*;

fn read(sql: &str) -> Result<(), SqlRefusal> {
    check(sql, "bulk", SqlUse::Read)
}

fn write(sql: &str) -> Result<(), SqlRefusal> {
    check(sql, "bulk", SqlUse::Write)
}

#[test]
fn own_tables_are_reached_in_every_usual_way() {
    let reads = [
        "SELECT a, 'from hosts' FROM bulk_operations WHERE id = $1 ORDER BY a LIMIT 5",
        "SELECT x.a FROM bulk_a x, bulk_b AS y JOIN bulk_c ON x.id = bulk_c.id WHERE y.n IN (SELECT n FROM bulk_d)",
        "WITH old AS (SELECT id FROM bulk_a), n (b) AS (SELECT 1) SELECT * FROM old, n",
        "SELECT value FROM json_each($1) AS source",
        "SELECT substring(name FROM 1 FOR 3), a IS DISTINCT FROM b FROM bulk_a -- FROM hosts\n",
        "SELECT * FROM (SELECT id FROM bulk_a) AS inside WHERE EXISTS (SELECT 1 FROM bulk_b)",
        "SELECT 1 /* FROM hosts */",
    ];
    for sql in reads {
        assert_eq!(read(sql), Ok(()), "{sql}");
    }
    let writes = [
        "INSERT INTO bulk_a (id, t) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET t = excluded.t",
        "INSERT INTO bulk_a (id) SELECT id FROM bulk_b WHERE n > 3",
        "INSERT INTO bulk_a (id, b) VALUES {rows}",
        "UPDATE bulk_a SET a = $1 FROM bulk_b WHERE bulk_a.id = bulk_b.id",
        "DELETE FROM bulk_a WHERE id IN (SELECT id FROM bulk_b) RETURNING id;",
        "DELETE FROM bulk_a USING bulk_b WHERE bulk_a.id = bulk_b.id",
    ];
    for sql in writes {
        assert_eq!(write(sql), Ok(()), "{sql}");
    }
}

#[test]
fn other_tables_are_refused_wherever_they_hide() {
    let reads = [
        "SELECT * FROM hosts",
        "SELECT * FROM bulk_a, hosts",
        "SELECT * FROM bulk_a JOIN hosts ON true",
        "SELECT * FROM \"hosts\"",
        "SELECT * FROM main.bulk_a",
        "SELECT * FROM bulkhosts",
        "SELECT (SELECT token_sha256 FROM api_tokens) FROM bulk_a",
        "SELECT * FROM (SELECT * FROM users) AS bulk_a",
        "WITH old AS (SELECT * FROM audit) SELECT * FROM old",
        "SELECT 1 UNION SELECT id FROM hosts",
        "SELECT * FROM/**/hosts",
        "SELECT * FROM ONLY hosts",
    ];
    for sql in reads {
        assert!(
            matches!(read(sql), Err(SqlRefusal::ForeignTable(_))),
            "{sql}: {:?}",
            read(sql)
        );
    }
    let writes = [
        "UPDATE hosts SET reserved = 1",
        "INSERT INTO audit (a) VALUES (1)",
        "DELETE FROM bulk_a USING hosts WHERE true",
        "UPDATE bulk_a SET a = 1 FROM hosts",
        "WITH gone AS (DELETE FROM hosts RETURNING id) INSERT INTO bulk_a SELECT id FROM gone",
    ];
    for sql in writes {
        assert!(
            matches!(write(sql), Err(SqlRefusal::ForeignTable(_))),
            "{sql}: {:?}",
            write(sql)
        );
    }
}

#[test]
fn statements_of_another_kind_are_refused() {
    for sql in [
        "DROP TABLE bulk_a",
        "PRAGMA writable_schema = 1",
        "ATTACH 'x' AS y",
        "",
        "BEGIN",
        "VACUUM",
    ] {
        assert!(matches!(write(sql), Err(SqlRefusal::Kind(_))), "{sql}");
        assert!(matches!(read(sql), Err(SqlRefusal::Kind(_))), "{sql}");
    }
    assert!(matches!(
        read("DELETE FROM bulk_a"),
        Err(SqlRefusal::Kind(_))
    ));
    assert!(matches!(
        read("WITH x AS (DELETE FROM bulk_a RETURNING id) SELECT * FROM x"),
        Err(SqlRefusal::Kind(_))
    ));
    assert_eq!(
        write("DELETE FROM bulk_a; DELETE FROM bulk_b"),
        Err(SqlRefusal::Several)
    );
}

#[test]
fn what_is_not_understood_is_refused() {
    for sql in [
        "SELECT 'a' -- \r UNION SELECT set_config('role', 'none', false) \n",
        "SELECT $$ FROM hosts $$",
        "SELECT E'\\' FROM hosts --'",
        "SELECT * FROM `hosts`",
        "SELECT * FROM [hosts]",
        "SELECT 'open",
        "SELECT 1 /* /* */ FROM hosts */",
    ] {
        assert!(
            matches!(read(sql), Err(SqlRefusal::Quoting(_))),
            "{sql}: {:?}",
            read(sql)
        );
    }
    assert!(matches!(
        read("SELECT pg_read_file('/etc/passwd')"),
        Err(SqlRefusal::Function(_))
    ));
}

#[test]
fn a_migration_makes_its_own_tables_only() {
    let good = "CREATE TABLE IF NOT EXISTS bulk_a (id BLOB NOT NULL PRIMARY KEY, s TEXT CHECK (s IN ('x', 'hosts')));
                CREATE INDEX bulk_a_by_s ON bulk_a (s) WHERE s = 'x';
                ALTER TABLE bulk_a ADD COLUMN t TEXT; INSERT INTO bulk_a (id) SELECT id FROM bulk_b;";
    assert_eq!(check_migration(good, "bulk"), Ok(()));
    for sql in [
        "CREATE TABLE hosts2 (id BLOB)",
        "DROP TABLE IF EXISTS hosts",
        "CREATE INDEX bulk_x ON hosts (id)",
        "CREATE TABLE bulk_a (h BLOB REFERENCES hosts)",
        "UPDATE settings SET value = '1'",
    ] {
        assert!(
            matches!(
                check_migration(sql, "bulk"),
                Err(SqlRefusal::ForeignTable(_))
            ),
            "{sql}"
        );
    }
}

#[test]
fn what_passed_once_is_refused() {
    let reads = [
        "SELECT * FROM (hosts)",
        "SELECT * FROM bulk_a JOIN (hosts)",
        "SELECT * FROM ((bulk_a CROSS JOIN (hosts)))",
        "SELECT * FROM ONLY (hosts)",
        "SELECT * FROM 'hosts'",
        "SELECT * FROM bulk_a, 'hosts'",
        "SELECT 'x' IN hosts",
        "SELECT * FROM hosts WHERE EXISTS (WITH hosts AS (SELECT 1 AS a) SELECT a FROM hosts)",
        "WITH hosts AS (SELECT * FROM hosts) SELECT * FROM hosts",
        "WITH a AS (SELECT * FROM hosts), hosts AS (SELECT 1) SELECT * FROM a",
        "WITH x AS (TABLE hosts) SELECT * FROM x",
        "SELECT 1 UNION ALL TABLE hosts",
        "SELECT * FROM (pragma_table_info('hosts'))",
        "SELECT * FROM U&\"\\0075sers\"",
        "SELECT * INTO bulk_b FROM bulk_a",
        "SELECT a, set_config('role', 'none', false) AS (x) FROM bulk_a",
        "WITH set_config AS (SELECT 1) SELECT set_config('role', 'none', true)",
        "SELECT \"set_config\" ('role', 'none', true)",
        "SELECT pg_catalog.count(1)",
        "SELECT * FROM bulk_a, dblink('', '') AS (a int)",
        "SELECT ts_stat('SELECT 1')",
        "SELECT database_to_xml(true, false, '')",
        "SELECT pg_sleep/* */(1000)",
        "SELECT pg_advisory_lock(1)",
        "SELECT lowrite(0, 'x')",
        "SELECT repeat('x', 1000000000)",
    ];
    for sql in reads {
        assert!(read(sql).is_err(), "{sql}");
    }
    let writes = [
        "WITH hosts AS (SELECT 1) UPDATE hosts SET reserved = 1",
        "WITH hosts AS (SELECT 1) DELETE FROM hosts",
        "WITH hosts AS (SELECT 1) INSERT INTO hosts VALUES (1)",
        "UPDATE ONLY (hosts) SET reserved = 1",
        "UPDATE OR REPLACE hosts SET reserved = 1",
        "UPDATE 'hosts' SET reserved = 1",
        "DELETE FROM 'hosts'",
        "INSERT OR REPLACE INTO 'hosts' VALUES (1)",
        "WITH x AS (SELECT 1) MERGE INTO hosts USING bulk_a ON true WHEN MATCHED THEN DELETE",
    ];
    for sql in writes {
        assert!(write(sql).is_err(), "{sql}");
    }
    let migrations = [
        "TRUNCATE hosts",
        "DO 'BEGIN DELETE FROM hosts; END'",
        "CREATE TABLE bulk_x (a INT); RESET ROLE; DELETE FROM hosts",
        "COMMIT; DELETE FROM bulk_a",
        "COPY bulk_a FROM PROGRAM 'id'",
        "CREATE FUNCTION bulk_f() RETURNS void LANGUAGE sql AS 'DELETE FROM hosts'",
        "CREATE VIEW bulk_v AS SELECT * FROM hosts",
        "CREATE TRIGGER bulk_t AFTER INSERT ON bulk_a BEGIN DELETE FROM 'hosts'; END",
        "CREATE TEMP TABLE bulk_t (a INT)",
        "CREATE TABLE bulk_x AS SELECT * FROM (hosts)",
        "CREATE TABLE bulk_x AS SELECT * FROM hosts",
        "CREATE TABLE bulk_x (LIKE hosts INCLUDING ALL)",
        "CREATE TABLE bulk_x (a INT) INHERITS (hosts)",
        "ALTER TABLE bulk_a RENAME TO hosts2",
        "ALTER TABLE bulk_a OWNER TO postgres",
        "ALTER TABLE bulk_a SET SCHEMA other",
        "DROP TABLE bulk_a, hosts",
        "DROP TABLE 'hosts'",
        "DROP INDEX hosts_by_name",
        "CREATE INDEX hosts_x ON bulk_a (a)",
        "ATTACH 'x' AS y",
        "VACUUM INTO 'x'",
    ];
    for sql in migrations {
        assert!(check_migration(sql, "bulk").is_err(), "{sql}");
    }
}

#[test]
fn what_gives_a_table_away_may_be_the_name_of_a_column() {
    for sql in [
        "CREATE TABLE bulk_a (owner TEXT, schema TEXT NOT NULL, rule TEXT, temp REAL, PRIMARY KEY (owner, trigger))",
        "CREATE INDEX bulk_i ON bulk_a (owner) WHERE owner IS NOT NULL AND partition > 0",
        "ALTER TABLE bulk_a ADD COLUMN owner TEXT; ALTER TABLE bulk_a RENAME COLUMN owner TO schema",
        "ALTER TABLE bulk_a RENAME owner TO rule; ALTER TABLE bulk_a DROP COLUMN IF EXISTS trigger",
        "ALTER TABLE bulk_a ADD COLUMN IF NOT EXISTS inherit TEXT, ALTER COLUMN owner SET NOT NULL",
    ] {
        assert_eq!(check_migration(sql, "bulk"), Ok(()), "{sql}");
    }
    for sql in [
        "ALTER TABLE bulk_a OWNER TO postgres",
        "ALTER TABLE bulk_a DROP COLUMN a, OWNER TO postgres",
        "ALTER TABLE bulk_a SET SCHEMA other",
        "ALTER TABLE bulk_a INHERIT hosts",
        "ALTER TABLE bulk_a NO INHERIT hosts",
        "ALTER TABLE bulk_a ATTACH PARTITION hosts DEFAULT",
        "ALTER TABLE bulk_a ENABLE TRIGGER x",
        "CREATE TABLE bulk_b (a INT) INHERITS (hosts)",
        "CREATE TABLE bulk_b (a INT) PARTITION BY LIST (a)",
    ] {
        assert!(check_migration(sql, "bulk").is_err(), "{sql}");
    }
    assert_eq!(
        write("UPDATE bulk_a SET owner = $1, merge = 2 WHERE schema = 'x'"),
        Ok(())
    );
}

#[test]
fn usual_migrations_and_functions_pass() {
    let migration = "ALTER TABLE bulk_a RENAME COLUMN a TO b; ALTER TABLE bulk_a RENAME TO bulk_c;
        CREATE UNIQUE INDEX IF NOT EXISTS bulk_i ON bulk_a (lower(a), b DESC) WHERE b LIKE 'x%';
        CREATE TABLE bulk_d (a NUMERIC(10, 2) DEFAULT 0, at TIMESTAMP WITH TIME ZONE, PRIMARY KEY (a), UNIQUE (at),
            FOREIGN KEY (a) REFERENCES bulk_a (a) ON DELETE CASCADE, CHECK (a > 0));
        DROP INDEX IF EXISTS bulk_i; DROP TABLE bulk_c, bulk_d; UPDATE bulk_a SET a = COALESCE(b, 0);";
    assert_eq!(check_migration(migration, "bulk"), Ok(()));
    for sql in [
        "SELECT COUNT(*), MAX(a) FILTER (WHERE b) OVER (PARTITION BY c) FROM bulk_a AS x(a, b, c)",
        "SELECT CAST(a AS NUMERIC(10)) FROM (bulk_a JOIN bulk_b USING (id)) WHERE a IN (1, 2) AND (b OR c)",
        "WITH RECURSIVE up(id) AS (SELECT 1 UNION ALL SELECT up.id FROM up JOIN bulk_a ON bulk_a.id = up.id) SELECT id FROM up",
    ] {
        assert_eq!(read(sql), Ok(()), "{sql}");
    }
}

#[test]
fn every_function_that_sqlites_gate_allows_passes_here() {
    for function in crate::db::gate::FUNCTIONS {
        let known = function.starts_with('-') || FUNCTIONS.contains(&function);
        assert!(known, "{function}");
    }
}
