//! What a module may try: statements that found a way past an older word list, and some thousand made of the ways there are
//! to name a table.

use fleetwright_server::db::Dialect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
    Migrate,
}

/// The databases that understand it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Sqlite,
    Postgres,
    Both,
}

use On::{Both, Postgres, Sqlite};
use Use::{Migrate, Read, Write};

#[rustfmt::skip]
pub const ATTEMPTS: [(Use, On, &str); 79] = [
    (Read, Sqlite, r#"SELECT * FROM (users)"#),
    (Read, Sqlite, r#"SELECT * FROM bulk_a JOIN (users)"#),
    (Read, Both, r#"SELECT * FROM (users CROSS JOIN bulk_a)"#),
    (Read, Postgres, r#"SELECT * FROM ONLY (users)"#),
    (Read, Both, r#"SELECT * FROM users WHERE EXISTS (WITH users AS (SELECT 1 AS a) SELECT a FROM users)"#),
    (Read, Postgres, r#"WITH x AS (TABLE users) SELECT * FROM x"#),
    (Read, Postgres, r#"SELECT 1, 'a', 'b' UNION ALL TABLE users"#),
    (Read, Sqlite, r#"SELECT 'x' IN settings"#),
    (Read, Sqlite, r#"SELECT * FROM (pragma_table_info('users'))"#),
    (Read, Sqlite, r#"SELECT * FROM (sqlite_master)"#),
    (Read, Sqlite, r#"SELECT * FROM (main.users)"#),
    (Read, Postgres, r#"SELECT database_to_xml(true, false, '')"#),
    (Read, Postgres, r#"SELECT schema_to_xml('public', true, false, '')"#),
    (Read, Postgres, r#"SELECT cursor_to_xml('x', 1, true, false, '')"#),
    (Read, Postgres, r#"SELECT * FROM (ts_stat('SELECT to_tsvector(password_hash) FROM users') CROSS JOIN bulk_a)"#),
    (Read, Postgres, r#"SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, (SELECT string_agg(password_hash, '' '') FROM users)::tsquery')"#),
    (Read, Postgres, r#"SELECT U&"\0070g_read_file"('/etc/passwd')"#),
    (Read, Postgres, r#"SELECT * FROM (U&"\0075sers" CROSS JOIN bulk_a)"#),
    (Read, Postgres, r#"SELECT lowrite(0, 'x')"#),
    (Read, Postgres, r#"SELECT nextval('users_seq')"#),
    (Read, Postgres, r#"SELECT repeat('x', 1000000000)"#),
    (Read, Both, r#"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"#),
    (Read, Postgres, r#"SELECT has_table_privilege('users', 'select'), inet_server_addr(), version()"#),
    (Read, Postgres, r#"SELECT pg_read_file('/etc/passwd')"#),
    (Read, Postgres, r#"SELECT "pg_read_file"('/etc/passwd')"#),
    (Read, Postgres, r#"SELECT pg_catalog.pg_read_file('/etc/passwd')"#),
    (Read, Postgres, r#"SELECT set_config('search_path', 'x', false)"#),
    (Read, Postgres, r#"SELECT dblink('', '')"#),
    (Read, Postgres, r#"SELECT lo_import('/etc/passwd')"#),
    (Read, Postgres, r#"SELECT query_to_xml('SELECT * FROM users', true, false, '')"#),
    (Read, Both, r#"SELECT 1; DELETE FROM users"#),
    (Read, Both, r#"SELECT 1 /* */ FROM/**/users"#),
    (Read, Both, r#"SELECT * FROM bulk_a, users"#),
    (Read, Both, r#"SELECT * FROM "users""#),
    (Read, Both, r#"SELECT * FROM bulk_a UNION SELECT * FROM users"#),
    (Read, Both, r#"SELECT (SELECT password_hash FROM users)"#),
    (Read, Sqlite, r#"SELECT * FROM [users]"#),
    (Read, Sqlite, r#"SELECT * FROM `users`"#),
    (Read, Sqlite, r#"SELECT * FROM 'users'"#),
    (Read, Sqlite, r#"SELECT * FROM bulk_a, 'users'"#),
    (Read, Sqlite, r#"SELECT * FROM bulk_a JOIN 'users'"#),
    (Read, Sqlite, r#"ATTACH 'x' AS y"#),
    (Read, Sqlite, r#"SELECT load_extension('x')"#),
    (Read, Both, r#"SELECT * FROM bulk_a AS bulk_x, LATERAL (SELECT * FROM users) AS u"#),
    (Read, Both, r#"SELECT * FROM users"#),
    (Read, Both, r#"SELECT 1 -- 
FROM users"#),
    (Write, Both, r#"WITH users AS (SELECT 1) UPDATE users SET role = 'admin'"#),
    (Write, Both, r#"WITH users AS (SELECT 1) DELETE FROM users"#),
    (Write, Both, r#"WITH users AS (SELECT 1) INSERT INTO users VALUES (x'09', 'evil', 'admin', 'x', 0, 1, 0, 0)"#),
    (Write, Postgres, r#"UPDATE ONLY (users) SET role = 'admin'"#),
    (Write, Sqlite, r#"UPDATE OR REPLACE users SET role = 'admin'"#),
    (Write, Sqlite, r#"UPDATE 'users' SET role = 'admin'"#),
    (Write, Sqlite, r#"DELETE FROM 'users'"#),
    (Write, Sqlite, r#"INSERT INTO 'users' VALUES (x'09', 'evil', 'admin', 'x', 0, 1, 0, 0)"#),
    (Write, Sqlite, r#"INSERT OR REPLACE INTO users VALUES (x'09', 'evil', 'admin', 'x', 0, 1, 0, 0)"#),
    (Write, Postgres, r#"WITH x AS (SELECT 1) MERGE INTO users USING bulk_a ON true WHEN MATCHED THEN DELETE"#),
    (Write, Postgres, r#"DELETE FROM bulk_a USING users WHERE users.id = bulk_a.a"#),
    (Write, Both, r#"INSERT INTO bulk_a SELECT id FROM users"#),
    (Write, Both, r#"UPDATE users SET role = 'admin'"#),
    (Migrate, Postgres, r#"TRUNCATE users"#),
    (Migrate, Postgres, r#"DO 'BEGIN DELETE FROM users; END'"#),
    (Migrate, Postgres, r#"COPY users TO '%OUT%-copy'"#),
    (Migrate, Postgres, r#"COPY bulk_a FROM PROGRAM 'id > %OUT%-program; echo 1'"#),
    (Migrate, Postgres, r#"CREATE FUNCTION bulk_f() RETURNS void LANGUAGE sql AS 'DELETE FROM users'"#),
    (Migrate, Postgres, r#"CREATE RULE bulk_r AS ON DELETE TO users DO INSTEAD NOTHING"#),
    (Migrate, Postgres, r#"SET search_path = pg_temp"#),
    (Migrate, Postgres, r#"ALTER SYSTEM SET work_mem = '1MB'"#),
    (Migrate, Sqlite, r#"ATTACH '%OUT%-attached' AS other"#),
    (Migrate, Sqlite, r#"VACUUM INTO '%OUT%-vacuum'"#),
    (Migrate, Sqlite, r#"PRAGMA writable_schema = ON"#),
    (Migrate, Both, r#"DROP INDEX audit_by_time"#),
    (Migrate, Sqlite, r#"DROP TRIGGER settings_t"#),
    (Migrate, Both, r#"DROP VIEW settings"#),
    (Migrate, Sqlite, r#"CREATE TRIGGER bulk_t AFTER INSERT ON bulk_a BEGIN DELETE FROM 'users'; END"#),
    (Migrate, Both, r#"DROP TABLE users"#),
    (Migrate, Both, r#"CREATE TABLE bulk_x AS SELECT * FROM users"#),
    (Migrate, Sqlite, r#"CREATE TABLE bulk_x AS SELECT * FROM (users)"#),
    (Migrate, Both, r#"ALTER TABLE users ADD COLUMN x int"#),
    (Migrate, Sqlite, r#"DROP TABLE 'users'"#),
];

/// Every form with every table in every spelling.
pub fn generated(dialect: Dialect) -> Vec<(Use, String)> {
    const READS: [&str; 16] = [
        "SELECT * FROM {t}",
        "SELECT count(*) FROM {t}",
        "SELECT 1 FROM bulk_a, {t}",
        "SELECT 1 FROM bulk_a LEFT JOIN {t} ON 1 = 1",
        "SELECT 1 FROM (bulk_a CROSS JOIN {t})",
        "SELECT (SELECT count(*) FROM {t}) FROM bulk_a",
        "SELECT a FROM bulk_a WHERE EXISTS (SELECT 1 FROM {t})",
        "SELECT a FROM bulk_a WHERE a IN (SELECT 1 FROM {t})",
        "SELECT a FROM bulk_a UNION ALL SELECT 1 FROM {t}",
        "WITH x AS (SELECT * FROM {t}) SELECT * FROM x",
        "WITH x AS (SELECT 1), y AS (SELECT 2 FROM {t}) SELECT * FROM x, y",
        "SELECT a FROM bulk_a ORDER BY (SELECT count(*) FROM {t})",
        "SELECT a FROM bulk_a GROUP BY a HAVING count(*) > (SELECT count(*) FROM {t})",
        "SELECT sum(a) OVER (ORDER BY (SELECT count(*) FROM {t})) FROM bulk_a",
        "SELECT * FROM (SELECT * FROM (SELECT * FROM {t}) AS y) AS x",
        "SELECT CASE WHEN (SELECT count(*) FROM {t}) > 0 THEN 1 END FROM bulk_a LIMIT 1",
    ];
    const WRITES: [&str; 9] = [
        "DELETE FROM {t}",
        "INSERT INTO {t} SELECT * FROM {t}",
        "INSERT INTO bulk_a (a) SELECT 1 FROM {t}",
        "UPDATE bulk_a SET a = (SELECT count(*) FROM {t})",
        "UPDATE bulk_a SET a = 3 FROM {t}",
        "DELETE FROM bulk_a WHERE EXISTS (SELECT 1 FROM {t})",
        "WITH x AS (SELECT 1 FROM {t}) INSERT INTO bulk_a (a) SELECT 1 FROM x",
        "INSERT INTO bulk_a (a) VALUES ((SELECT count(*) FROM {t}))",
        "DELETE FROM bulk_a RETURNING (SELECT count(*) FROM {t})",
    ];
    const CHANGES: [&str; 5] = [
        "DROP TABLE {t}",
        "ALTER TABLE {t} ADD COLUMN zzz BIGINT",
        "CREATE TABLE bulk_z AS SELECT * FROM {t}",
        "CREATE INDEX bulk_z ON {t} (name)",
        "INSERT INTO bulk_a (a) SELECT 1 FROM {t}",
    ];
    let (tables, schema): (&[&str], _) = match dialect {
        Dialect::Sqlite => (
            &[
                "users",
                "settings",
                "api_tokens",
                "audit",
                "commands",
                "groups_a",
                "sqlite_schema",
                "_mig_core",
            ],
            "main",
        ),
        Dialect::Postgres => (
            &[
                "users",
                "settings",
                "api_tokens",
                "audit",
                "commands",
                "groups_a",
                "pg_authid",
                "_mig_core",
            ],
            "public",
        ),
    };
    let spelt = |table: &str| {
        let schema = if table == "pg_authid" {
            "pg_catalog"
        } else {
            schema
        };
        [
            table.to_owned(),
            table.to_uppercase(),
            format!("\"{table}\""),
            format!("{schema}.{table}"),
            format!("/* bulk_a */{schema} . \"{table}\"/**/"),
        ]
    };
    let mut all = Vec::new();
    for table in tables {
        for name in spelt(table) {
            // A module may look at the schema while it changes its own; what it says there is no secret.
            let is_schema = *table == "sqlite_schema";
            let of = |what: Use, forms: &[&str]| {
                let made = forms.iter().map(|form| (what, form.replace("{t}", &name)));
                made.collect::<Vec<_>>()
            };
            all.extend(of(Read, &READS));
            all.extend(of(Write, &WRITES));
            if !is_schema {
                all.extend(of(Migrate, &CHANGES));
            }
        }
    }
    all
}
