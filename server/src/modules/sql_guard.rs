//! The first look at a module's SQL: the words of one statement. Pure. It says early and clearly what is wrong, and errs
//! towards refusing what it does not understand. What holds is the database's own gate behind it (`db/gate`, `db/fence`);
//! here alone it is decided which functions a module may call on PostgreSQL, which has no gate for that.

use crate::db::words::{self, Token};

/// Why a statement is refused; a sentence for the module's author.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlRefusal {
    #[error("the statement must begin with {0}")]
    Kind(&'static str),
    #[error("only one statement at a time")]
    Several,
    #[error("the table `{0}` is not one of the module's own")]
    ForeignTable(String),
    #[error("the function `{0}` is not allowed")]
    Function(String),
    #[error("the quoting or operator at `{0}` is not understood")]
    Quoting(String),
    #[error("`{0}` is not for modules, or not at this place")]
    Word(String),
}

/// What a statement may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlUse {
    Read,
    Write,
}

/// Table functions that read only their arguments.
const SOURCES: [&str; 6] = [
    "json_each",
    "json_array_elements",
    "jsonb_array_elements",
    "unnest",
    "generate_series",
    "values",
];
/// Words after which a `FROM` list has ended.
const CLAUSES: [&str; 17] = [
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "union",
    "except",
    "intersect",
    "returning",
    "on",
    "set",
    "window",
    "for",
    "values",
    "select",
    "using",
];
/// In these functions `FROM` separates arguments.
const FROM_ARGUMENTS: [&str; 5] = ["substring", "extract", "trim", "overlay", "position"];
/// Words before a parenthesis that call nothing; and types.
#[rustfmt::skip]
const NO_CALLS: [&str; 61] = [
    "all", "and", "any", "array", "as", "between", "by", "case", "cast", "char", "check", "collate", "conflict", "cross",
    "decimal", "default", "distinct", "else", "escape", "except", "exists", "filter", "float", "from", "glob", "having",
    "ilike", "in", "inner", "intersect", "interval", "is", "join", "key", "lateral", "like", "limit", "materialized", "not",
    "numeric", "offset", "on", "only", "or", "over", "returning", "row", "select", "set", "some", "then", "time",
    "timestamp", "union", "unique", "using", "values", "varchar", "when", "where", "within",
];
/// Functions of either database that read nothing but their arguments. Those of SQLite are the ones its gate allows.
#[rustfmt::skip]
pub const FUNCTIONS: [&str; 103] = [
    "abs", "array_agg", "array_length", "avg", "bool_and", "bool_or", "btrim", "cardinality", "ceil", "ceiling",
    "char_length", "coalesce", "count", "cume_dist", "date", "date_part", "date_trunc", "datetime", "decode", "dense_rank",
    "encode", "every", "extract", "first_value", "floor", "generate_series", "glob", "greatest", "group_concat", "hex",
    "ifnull", "iif", "json", "json_agg", "json_array", "json_array_elements", "json_array_length", "json_build_array",
    "json_build_object", "json_each", "json_extract", "json_group_array", "json_group_object", "json_object",
    "json_object_keys", "json_type", "json_typeof", "json_valid", "jsonb_agg", "jsonb_array_elements",
    "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_typeof", "julianday", "lag", "last_value",
    "lead", "least", "length", "like", "lower", "ltrim", "max", "md5", "min", "mod", "nth_value", "ntile", "now", "nullif",
    "octet_length", "overlay", "percent_rank", "position", "rank", "round", "row_number", "row_to_json", "rtrim", "sha256",
    "sign", "starts_with", "strftime", "string_agg", "substr", "substring", "sum", "to_json", "to_jsonb", "to_timestamp",
    "total", "trim", "typeof", "unhex", "unnest", "upper", "json_array_elements_text", "jsonb_array_elements_text",
    "json_object_agg", "jsonb_object_agg", "json_extract_path_text", "jsonb_object_keys",
];

/// Checks one statement of the module `module`, whose tables are named `<module>_…`.
pub fn check(sql: &str, module: &str, what: SqlUse) -> Result<(), SqlRefusal> {
    let tokens = tokens(sql)?;
    check_beginning(&tokens, what)?;
    check_rows(&tokens, module)
}

/// Checks a migration: it makes, alters and drops the module's own tables and indexes, and changes their rows.
pub fn check_migration(sql: &str, module: &str) -> Result<(), SqlRefusal> {
    let tokens = tokens(sql)?;
    for statement in tokens.split(|token| *token == Token::Symbol(';')) {
        check_change(statement, module)?;
    }
    Ok(())
}

/// A statement about rows: which tables it names, and what it calls.
fn check_rows(tokens: &[Token], module: &str) -> Result<(), SqlRefusal> {
    let made = common_tables(tokens)?;
    for (at, table, is_target) in tables(tokens)? {
        let is_common = made
            .iter()
            .any(|common| common.name == table && common.visible_from <= at);
        if !is_own(&table, module) && (is_target || !is_common) {
            return Err(SqlRefusal::ForeignTable(table));
        }
    }
    check_functions(tokens, module, &made)
}

fn is_own(table: &str, module: &str) -> bool {
    table
        .strip_prefix(module)
        .is_some_and(|rest| rest.starts_with('_'))
}

/// One statement of a migration.
fn check_change(tokens: &[Token], module: &str) -> Result<(), SqlRefusal> {
    let word = |at: usize| word_at(tokens, at);
    let (kind, from) = match (word(0), word(1), word(2)) {
        (None, ..) if tokens.is_empty() => return Ok(()),
        (Some("insert" | "update" | "delete"), ..) => return check_rows(tokens, module),
        (Some("create"), Some("unique"), Some("index")) => ("index", 3),
        (Some("create"), Some("index"), _) => ("index", 2),
        (Some("create"), Some("table"), _) => ("create", 2),
        (Some("alter"), Some("table"), _) => ("alter", 2),
        (Some("drop"), Some("table" | "index"), _) => ("drop", 2),
        _ => {
            return Err(SqlRefusal::Kind(
                "CREATE, ALTER or DROP of a TABLE or INDEX, or a change of rows",
            ));
        }
    };
    let own = |at: usize| own_name(tokens, at, module);
    let mut at = from;
    while matches!(word(at), Some("if" | "not" | "exists" | "only")) {
        at += 1;
    }
    own(at)?;
    match kind {
        "index" if word(at + 1) == Some("on") => {
            own(if word(at + 2) == Some("only") {
                at + 3
            } else {
                at + 2
            })?;
        }
        "index" => return Err(SqlRefusal::Kind("the name of an index of its own and ON")),
        "create" if tokens.get(at + 1) != Some(&Token::Symbol('(')) => {
            return Err(SqlRefusal::Kind(
                "the name of a table of its own and its columns",
            ));
        }
        "drop" => {
            while tokens.get(at + 1) == Some(&Token::Symbol(',')) {
                at = own(at + 2)?;
            }
        }
        _ => {}
    }
    check_clauses(tokens, at + 1, module)?;
    check_functions(tokens, module, &[])
}

/// What stands behind the name of what is made or altered.
fn check_clauses(tokens: &[Token], from: usize, module: &str) -> Result<(), SqlRefusal> {
    let word = |at: usize| word_at(tokens, at);
    let own = |at: usize| own_name(tokens, at, module);
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            Token::Word(name) if depth == 0 && gives_away(tokens, at) => {
                return Err(SqlRefusal::Word(name.clone()));
            }
            Token::Word(name) if name == "references" => {
                own(at + 1)?;
            }
            Token::Word(name) if name == "to" && word(at - 1) == Some("rename") => {
                own(at + 1)?;
            }
            // A table like another; a pattern is a string, and no word follows it.
            Token::Word(name) if name == "like" && word(at + 1).is_some() => {
                own(at + 1)?;
            }
            Token::Word(name)
                if ["select", "with"].contains(&name.as_str()) && word(at + 1) != Some("time") =>
            {
                return Err(SqlRefusal::Word(name.clone()));
            }
            Token::Word(_) | Token::Symbol(_) | Token::Value => {}
        }
    }
    Ok(())
}

/// Whether the word begins what makes others own or see a table, or runs with it later. All of them are ordinary names of
/// columns too: in parentheses and conditions, and behind what names a column.
fn gives_away(tokens: &[Token], at: usize) -> bool {
    const CLAUSES_OF_TABLES: [&str; 9] = [
        "owner",
        "schema",
        "inherit",
        "inherits",
        "attach",
        "trigger",
        "rule",
        "partition",
        "temp",
    ];
    const BEFORE_A_COLUMN: [&str; 7] = ["add", "alter", "column", "drop", "exists", "rename", "to"];
    let is_index = word_at(tokens, 1) != Some("table");
    let before = at.checked_sub(1).and_then(|before| word_at(tokens, before));
    !is_index
        && word_at(tokens, at).is_some_and(|word| CLAUSES_OF_TABLES.contains(&word))
        && !before.is_some_and(|before| BEFORE_A_COLUMN.contains(&before))
}

/// The place, if a name of the module's own stands there.
fn own_name(tokens: &[Token], at: usize, module: &str) -> Result<usize, SqlRefusal> {
    match tokens.get(at) {
        Some(Token::Word(name))
            if is_own(name, module) && tokens.get(at + 1) != Some(&Token::Symbol('.')) =>
        {
            Ok(at)
        }
        Some(Token::Word(name)) => Err(SqlRefusal::ForeignTable(name.clone())),
        Some(Token::Symbol(_) | Token::Value) | None => {
            Err(SqlRefusal::ForeignTable("'…'".to_owned()))
        }
    }
}

fn word_at(tokens: &[Token], at: usize) -> Option<&str> {
    match tokens.get(at) {
        Some(Token::Word(word)) => Some(word),
        Some(Token::Symbol(_) | Token::Value) | None => None,
    }
}

fn check_beginning(tokens: &[Token], what: SqlUse) -> Result<(), SqlRefusal> {
    let first = word_at(tokens, 0).unwrap_or_default();
    let is_writing = |word: &str| ["insert", "update", "delete"].contains(&word);
    match what {
        SqlUse::Read => {
            let writes = tokens.windows(2).any(|pair| match pair {
                [Token::Word(word), next] => {
                    (word == "insert" || word == "delete") && *next != Token::Symbol('(')
                        || (word == "update" && matches!(next, Token::Word(_)))
                        || word == "into"
                }
                _ => false,
            });
            if !["select", "with"].contains(&first) || writes {
                return Err(SqlRefusal::Kind("SELECT"));
            }
        }
        SqlUse::Write if !is_writing(first) && first != "with" => {
            return Err(SqlRefusal::Kind("INSERT, UPDATE or DELETE"));
        }
        SqlUse::Write => {}
    }
    let end = tokens.iter().position(|token| *token == Token::Symbol(';'));
    if end.is_some_and(|end| end + 1 < tokens.len()) {
        return Err(SqlRefusal::Several);
    }
    Ok(())
}

/// A function that is not known may reach outside the module's tables: files, other databases, settings, SQL given as text.
/// No module can make functions, so what bears its name is a table with its columns.
fn check_functions(tokens: &[Token], module: &str, made: &[CommonTable]) -> Result<(), SqlRefusal> {
    for (at, pair) in tokens.windows(2).enumerate() {
        let [Token::Word(word), Token::Symbol('(')] = pair else {
            continue;
        };
        let before = at.checked_sub(1);
        let qualified = before.and_then(|before| tokens.get(before)) == Some(&Token::Symbol('.'));
        let known = NO_CALLS.contains(&word.as_str()) || FUNCTIONS.contains(&word.as_str());
        let named = is_own(word, module)
            || made.iter().any(|common| common.at == at)
            || before.and_then(|before| word_at(tokens, before)) == Some("as");
        if qualified || !(known || named) {
            return Err(SqlRefusal::Function(word.clone()));
        }
    }
    Ok(())
}

/// `WITH name AS (…), other (…) AS (…)`.
struct CommonTable {
    name: String,
    /// Where its name stands.
    at: usize,
    /// A name means this table behind its text, and with `RECURSIVE` in it.
    visible_from: usize,
}

/// The tables that a statement makes for itself, which it does at its beginning only.
fn common_tables(tokens: &[Token]) -> Result<Vec<CommonTable>, SqlRefusal> {
    let is_with = |token: &Token| *token == Token::Word("with".to_owned());
    let misplaced = || SqlRefusal::Word("with".to_owned());
    if tokens.iter().skip(1).any(is_with) {
        return Err(misplaced());
    }
    let mut made = Vec::new();
    if !tokens.first().is_some_and(is_with) {
        return Ok(made);
    }
    let recursive = word_at(tokens, 1) == Some("recursive");
    let mut at = if recursive { 2 } else { 1 };
    loop {
        let name = word_at(tokens, at).ok_or_else(misplaced)?.to_owned();
        let name_at = at;
        at += 1;
        if tokens.get(at) == Some(&Token::Symbol('(')) {
            at = end_of_group(tokens, at).ok_or_else(misplaced)?;
        }
        if word_at(tokens, at) != Some("as") {
            return Err(misplaced());
        }
        at += 1;
        while matches!(word_at(tokens, at), Some("not" | "materialized")) {
            at += 1;
        }
        if tokens.get(at) != Some(&Token::Symbol('(')) {
            return Err(misplaced());
        }
        at = end_of_group(tokens, at).ok_or_else(misplaced)?;
        made.push(CommonTable {
            name,
            at: name_at,
            visible_from: if recursive { name_at } else { at },
        });
        if tokens.get(at) != Some(&Token::Symbol(',')) {
            return Ok(made);
        }
        at += 1;
    }
}

/// The place behind the parenthesis that closes the one at `from`.
fn end_of_group(tokens: &[Token], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            Token::Symbol(_) | Token::Word(_) | Token::Value => {}
        }
    }
    None
}

/// One level of parentheses.
#[derive(Default)]
struct Level {
    /// The function whose arguments these are.
    function: Option<String>,
    in_from: bool,
    wants_table: bool,
    /// The table that is wanted is one to write to.
    is_target: bool,
}

/// Where each table is named, and whether rows of it are changed.
fn tables(tokens: &[Token]) -> Result<Vec<(usize, String, bool)>, SqlRefusal> {
    let mut levels = vec![Level::default()];
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        let Some(level) = levels.last_mut() else {
            return Err(SqlRefusal::Quoting(")".to_owned()));
        };
        match token {
            Token::Symbol('(') => {
                let function = match before {
                    Some(Token::Word(word)) => Some(word.clone()),
                    Some(Token::Symbol(_) | Token::Value) | None => None,
                };
                // Where a table is wanted: a query, or tables in parentheses.
                let wants_table = std::mem::take(&mut level.wants_table);
                let is_target = level.is_target;
                levels.push(Level {
                    function,
                    in_from: wants_table,
                    wants_table,
                    is_target,
                });
            }
            Token::Symbol(')') => {
                levels.pop();
            }
            Token::Symbol(',') if level.in_from => level.want(false),
            Token::Symbol('.') if level.wants_table => {
                return Err(SqlRefusal::ForeignTable(".".to_owned()));
            }
            // SQLite takes a string for a name where only a name can be.
            Token::Value if level.wants_table => {
                return Err(SqlRefusal::ForeignTable("'…'".to_owned()));
            }
            Token::Symbol(_) | Token::Value => {}
            Token::Word(word) => {
                let next = tokens.get(at + 1);
                if let Some(table) = level.word(word, before, next)? {
                    found.push((at, table, level.is_target));
                }
            }
        }
    }
    Ok(found)
}

impl Level {
    fn want(&mut self, is_target: bool) {
        self.wants_table = true;
        self.is_target = is_target;
    }

    /// The table that this word names, if it names one.
    fn word(
        &mut self,
        word: &str,
        before: Option<&Token>,
        next: Option<&Token>,
    ) -> Result<Option<String>, SqlRefusal> {
        let follows =
            |expected: &str| matches!(before, Some(Token::Word(word)) if word == expected);
        let precedes = |expected: &str| matches!(next, Some(Token::Word(word)) if word == expected);
        if self.wants_table {
            return self.table(word, follows("into"), next);
        }
        match word {
            "from" if follows("distinct") => {}
            "from"
                if self
                    .function
                    .as_deref()
                    .is_some_and(|name| FROM_ARGUMENTS.contains(&name)) => {}
            "from" | "join" => {
                self.in_from = true;
                self.want(follows("delete"));
            }
            "into" => self.want(true),
            // `FOR UPDATE` locks, `DO UPDATE SET` belongs to the statement's own table.
            "update" if follows("for") || follows("do") || precedes("set") => {}
            "update" if precedes("or") => return Err(SqlRefusal::Word("or".to_owned())),
            "update" => self.want(true),
            // A table by itself is a query on PostgreSQL, and what follows IN may be one on SQLite.
            "table" => return Err(SqlRefusal::Word(word.to_owned())),
            "merge" if precedes("into") => return Err(SqlRefusal::Word(word.to_owned())),
            "in" if matches!(next, Some(Token::Word(_))) => self.want(false),
            "using" if next != Some(&Token::Symbol('(')) => {
                self.in_from = true;
                self.want(false);
            }
            clause if CLAUSES.contains(&clause) => self.in_from = false,
            _ => {}
        }
        Ok(None)
    }

    /// A word where a table is wanted.
    fn table(
        &mut self,
        word: &str,
        is_inserted: bool,
        next: Option<&Token>,
    ) -> Result<Option<String>, SqlRefusal> {
        if ["only", "lateral"].contains(&word) {
            return Ok(None);
        }
        self.wants_table = false;
        if ["select", "values"].contains(&word) && next != Some(&Token::Symbol('.')) && self.in_from
        {
            self.in_from = false;
            return Ok(None);
        }
        if next == Some(&Token::Symbol('.')) {
            return Err(SqlRefusal::ForeignTable(format!("{word}.…")));
        }
        let is_call = next == Some(&Token::Symbol('(')) && !is_inserted;
        Ok((!is_call || !SOURCES.contains(&word)).then(|| word.to_owned()))
    }
}

fn tokens(sql: &str) -> Result<Vec<Token>, SqlRefusal> {
    words::tokens(sql).map_err(|words::Unreadable(what)| SqlRefusal::Quoting(what))
}

#[cfg(test)]
mod tests;
