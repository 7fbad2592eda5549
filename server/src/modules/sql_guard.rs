//! Keeps a module's SQL to its own tables. Pure: looks at the words of one statement. It is there against mistakes (a
//! module is signed and inside the boundary), and it errs towards refusing what it does not understand.

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
}

/// What a statement may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlUse {
    Read,
    Write,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A bare word, lower case; or a quoted identifier.
    Word(String),
    Symbol(char),
    /// A string, a number or a parameter.
    Value,
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

/// Checks one statement of the module `module`, whose tables are named `<module>_…`.
pub fn check(sql: &str, module: &str, what: SqlUse) -> Result<(), SqlRefusal> {
    let tokens = tokens(sql)?;
    check_beginning(&tokens, what)?;
    check_functions(&tokens)?;
    let names = common_table_names(&tokens);
    for table in tables(&tokens)? {
        let own = table
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with('_'));
        if !own && !names.contains(&table) {
            return Err(SqlRefusal::ForeignTable(table));
        }
    }
    Ok(())
}

/// Checks a migration: it may create and change, and touches the module's own tables only.
pub fn check_migration(sql: &str, module: &str) -> Result<(), SqlRefusal> {
    const NAMING: [&str; 8] = [
        "table",
        "into",
        "from",
        "join",
        "update",
        "on",
        "references",
        "using",
    ];
    const BETWEEN: [&str; 4] = ["if", "not", "exists", "only"];
    const NO_TABLES: [&str; 6] = ["conflict", "delete", "update", "set", "select", "column"];
    let tokens = tokens(sql)?;
    check_functions(&tokens)?;
    let names = common_table_names(&tokens);
    for (at, token) in tokens.iter().enumerate() {
        if !matches!(token, Token::Word(word) if NAMING.contains(&word.as_str())) {
            continue;
        }
        let rest = tokens.get(at + 1..).unwrap_or_default();
        let named = rest
            .iter()
            .find(|token| !matches!(token, Token::Word(word) if BETWEEN.contains(&word.as_str())));
        let Some(Token::Word(table)) = named else {
            continue;
        };
        let own = table
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with('_'));
        let is_source = SOURCES.contains(&table.as_str()) || NO_TABLES.contains(&table.as_str());
        if !own && !is_source && !names.contains(table) {
            return Err(SqlRefusal::ForeignTable(table.clone()));
        }
    }
    Ok(())
}

fn check_beginning(tokens: &[Token], what: SqlUse) -> Result<(), SqlRefusal> {
    let first = match tokens.first() {
        Some(Token::Word(word)) => word.as_str(),
        Some(Token::Symbol(_) | Token::Value) | None => "",
    };
    let is_writing = |word: &str| ["insert", "update", "delete"].contains(&word);
    match what {
        SqlUse::Read => {
            let writes = tokens.windows(2).any(|pair| match pair {
                [Token::Word(word), next] => {
                    (word == "insert" || word == "delete") && *next != Token::Symbol('(')
                        || (word == "update" && matches!(next, Token::Word(_)))
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

/// Functions that reach outside the module's tables: files, other databases, settings, SQL given as text.
fn check_functions(tokens: &[Token]) -> Result<(), SqlRefusal> {
    const REFUSED: [&str; 9] = [
        "pg_",
        "lo_",
        "dblink",
        "query_to_",
        "table_to_",
        "load_extension",
        "set_config",
        "current_setting",
        "readfile",
    ];
    for pair in tokens.windows(2) {
        if let [Token::Word(word), Token::Symbol('(')] = pair
            && REFUSED.iter().any(|refused| word.starts_with(refused))
        {
            return Err(SqlRefusal::Function(word.clone()));
        }
    }
    Ok(())
}

/// `WITH name AS (…), other (…) AS (…)`: every word before `AS (`.
fn common_table_names(tokens: &[Token]) -> Vec<String> {
    let is_as = |token: &Token| *token == Token::Word("as".to_owned());
    if !tokens
        .iter()
        .any(|token| *token == Token::Word("with".to_owned()))
    {
        return Vec::new();
    }
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let opens = tokens.get(at + 1) == Some(&Token::Symbol('('));
        if !is_as(token) || !opens {
            continue;
        }
        let before = tokens.get(..at).unwrap_or_default();
        // The name, or its list of columns with the name before it.
        let before = match before.split_last() {
            Some((Token::Symbol(')'), list)) => {
                let open = list.iter().rposition(|token| *token == Token::Symbol('('));
                list.get(..open.unwrap_or_default()).unwrap_or_default()
            }
            Some(_) | None => before,
        };
        if let Some(Token::Word(name)) = before.last() {
            names.push(name.clone());
        }
    }
    names
}

/// One level of parentheses.
struct Level {
    /// The function whose arguments these are.
    function: Option<String>,
    in_from: bool,
    wants_table: bool,
}

fn tables(tokens: &[Token]) -> Result<Vec<String>, SqlRefusal> {
    let top = || Level {
        function: None,
        in_from: false,
        wants_table: false,
    };
    let mut levels = vec![top()];
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
                level.wants_table = false;
                levels.push(Level { function, ..top() });
            }
            Token::Symbol(')') => {
                levels.pop();
            }
            Token::Symbol(',') if level.in_from => level.wants_table = true,
            Token::Symbol('.') if level.wants_table => {
                return Err(SqlRefusal::ForeignTable(".".to_owned()));
            }
            Token::Symbol(_) | Token::Value => {}
            Token::Word(word) => {
                let next = tokens.get(at + 1);
                if let Some(table) = level.word(word, before, next)? {
                    found.push(table);
                }
            }
        }
    }
    Ok(found)
}

impl Level {
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
            if ["only", "lateral"].contains(&word) {
                return Ok(None);
            }
            self.wants_table = false;
            if next == Some(&Token::Symbol('.')) {
                return Err(SqlRefusal::ForeignTable(format!("{word}.…")));
            }
            let is_call = next == Some(&Token::Symbol('(')) && !follows("into");
            return if is_call && SOURCES.contains(&word) {
                Ok(None)
            } else {
                Ok(Some(word.to_owned()))
            };
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
                self.wants_table = true;
            }
            "into" => self.wants_table = true,
            // `FOR UPDATE` locks, `DO UPDATE SET` belongs to the statement's own table.
            "update" if follows("for") || follows("do") || precedes("set") => {}
            "update" => self.wants_table = true,
            "using" if next != Some(&Token::Symbol('(')) => {
                self.in_from = true;
                self.wants_table = true;
            }
            clause if CLAUSES.contains(&clause) => self.in_from = false,
            _ => {}
        }
        Ok(None)
    }
}

fn tokens(sql: &str) -> Result<Vec<Token>, SqlRefusal> {
    let characters: Vec<char> = sql.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let next = characters.get(at + 1).copied();
        match character {
            _ if character.is_whitespace() => at += 1,
            '-' if next == Some('-') => at = end_of(&characters, at, |letter| letter == '\n'),
            '/' if next == Some('*') => at = end_of_comment(&characters, at)?,
            '\'' => {
                at = end_of_quoted(&characters, at, '\'')?;
                found.push(Token::Value);
            }
            '"' => {
                let end = end_of_quoted(&characters, at, '"')?;
                let inner = characters.get(at + 1..end - 1).unwrap_or_default();
                found.push(Token::Word(inner.iter().collect::<String>().to_lowercase()));
                at = end;
            }
            '$' if next.is_some_and(|digit| digit.is_ascii_digit()) => {
                at = end_of(&characters, at + 1, |letter| !letter.is_ascii_digit());
                found.push(Token::Value);
            }
            // Dollar quoting, and the quotings of other databases that SQLite also understands.
            '$' | '`' | '[' | '\\' => return Err(SqlRefusal::Quoting(character.to_string())),
            _ if character.is_ascii_digit() => {
                at = end_of(&characters, at, |letter| {
                    !letter.is_ascii_alphanumeric() && letter != '.'
                });
                found.push(Token::Value);
            }
            _ if is_word(character) => {
                let end = end_of(&characters, at, |letter| !is_word(letter));
                let word: String = characters.get(at..end).unwrap_or_default().iter().collect();
                // `E'…'`, `X'…'`, `U&'…'`: strings with rules of their own. Blobs are bound, not written.
                if characters.get(end) == Some(&'\'') {
                    return Err(SqlRefusal::Quoting(word));
                }
                found.push(Token::Word(word.to_lowercase()));
                at = end;
            }
            _ => {
                found.push(Token::Symbol(character));
                at += 1;
            }
        }
    }
    Ok(found)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn end_of(characters: &[char], from: usize, ends: impl Fn(char) -> bool) -> usize {
    let rest = characters.get(from..).unwrap_or_default();
    rest.iter()
        .position(|letter| ends(*letter))
        .map_or(characters.len(), |length| from + length)
}

fn end_of_comment(characters: &[char], from: usize) -> Result<usize, SqlRefusal> {
    let rest = characters.get(from + 2..).unwrap_or_default();
    // A nested comment ends at another place on PostgreSQL than on SQLite.
    let end = rest.windows(2).position(|pair| pair == ['*', '/']);
    match end {
        Some(end)
            if !rest
                .get(..end)
                .unwrap_or_default()
                .windows(2)
                .any(|pair| pair == ['/', '*']) =>
        {
            Ok(from + 2 + end + 2)
        }
        Some(_) | None => Err(SqlRefusal::Quoting("/*".to_owned())),
    }
}

/// The position after the closing quote; a doubled quote stands for itself.
fn end_of_quoted(characters: &[char], from: usize, quote: char) -> Result<usize, SqlRefusal> {
    let mut at = from + 1;
    while let Some(&character) = characters.get(at) {
        if character == quote {
            if characters.get(at + 1) != Some(&quote) {
                return Ok(at + 1);
            }
            at += 1;
        }
        at += 1;
    }
    Err(SqlRefusal::Quoting(quote.to_string()))
}

#[cfg(test)]
mod tests;
