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
        "CREATE TABLE bulk_a AS SELECT * FROM users",
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
