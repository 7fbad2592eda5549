//! The words of SQL text as both databases read them. Pure. What they read in different ways is not read at all: somebody
//! who reads a text otherwise than the database does is told about another statement than the one that runs.

/// A part of the text that is not a blank or a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A bare word, lower case; or a quoted identifier.
    Word(String),
    Symbol(char),
    /// A string, a number or a parameter.
    Value,
}

/// What cannot be read, or not by both databases alike.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

pub fn tokens(sql: &str) -> Result<Vec<Token>, Unreadable> {
    let found = scan(&sql.chars().collect::<Vec<_>>())?;
    Ok(found.into_iter().map(|(_, token)| token).collect())
}

/// The statements of the text, without those that say nothing.
pub fn statements(sql: &str) -> Result<Vec<String>, Unreadable> {
    let characters: Vec<char> = sql.chars().collect();
    let mut found = Vec::new();
    let (mut from, mut is_blank) = (0, true);
    let end = (characters.len(), Token::Symbol(';'));
    for (at, token) in scan(&characters)?.into_iter().chain([end]) {
        if token != Token::Symbol(';') {
            is_blank = false;
            continue;
        }
        if !is_blank {
            found.push(
                characters
                    .get(from..at)
                    .unwrap_or_default()
                    .iter()
                    .collect(),
            );
        }
        (from, is_blank) = (at + 1, true);
    }
    Ok(found)
}

/// Each token, and where it begins.
fn scan(characters: &[char]) -> Result<Vec<(usize, Token)>, Unreadable> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let next = characters.get(at + 1).copied();
        let from = at;
        match character {
            ' ' | '\t' | '\n' | '\r' | '\u{c}' => at += 1,
            '-' if next == Some('-') => at = end_of_line(characters, at)?,
            '/' if next == Some('*') => at = end_of_comment(characters, at)?,
            '\'' => {
                at = end_of_quoted(characters, at, '\'')?;
                found.push((from, Token::Value));
            }
            '"' => {
                at = end_of_quoted(characters, at, '"')?;
                let inner = characters.get(from + 1..at - 1).unwrap_or_default();
                found.push((from, Token::Word(lower(inner))));
            }
            '$' if next.is_some_and(|digit| digit.is_ascii_digit()) => {
                at = end_of(characters, at + 1, |letter| !letter.is_ascii_digit());
                found.push((from, Token::Value));
            }
            // Dollar quoting, and the quotings of other databases that SQLite also understands.
            '$' | '`' | '[' | '\\' => return Err(Unreadable(character.to_string())),
            _ if character.is_ascii_digit() => {
                at = end_of_number(characters, at)?;
                found.push((from, Token::Value));
            }
            _ if is_word(character) => {
                at = end_of_word(characters, at)?;
                let word = characters.get(from..at).unwrap_or_default();
                found.push((from, Token::Word(lower(word))));
            }
            // What is a blank or a letter to one of us may be something else to them.
            _ if !character.is_ascii_graphic() => {
                return Err(Unreadable(character.escape_default().to_string()));
            }
            _ => {
                found.push((from, Token::Symbol(character)));
                at += 1;
            }
        }
    }
    Ok(found)
}

/// Other letters than those of ASCII are as they are: there are some whose lower case is an ASCII letter.
fn lower(letters: &[char]) -> String {
    letters.iter().map(char::to_ascii_lowercase).collect()
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn end_of(characters: &[char], from: usize, ends: impl Fn(char) -> bool) -> usize {
    let rest = characters.get(from..).unwrap_or_default();
    rest.iter()
        .position(|letter| ends(*letter))
        .map_or(characters.len(), |length| from + length)
}

/// A comment ends with its line: on PostgreSQL a carriage return ends one, on SQLite it does not.
fn end_of_line(characters: &[char], from: usize) -> Result<usize, Unreadable> {
    let end = end_of(characters, from, |letter| letter == '\n');
    let comment = characters.get(from..end).unwrap_or_default();
    let comment = comment.strip_suffix(&['\r']).unwrap_or(comment);
    if comment.contains(&'\r') || comment.contains(&'\0') {
        return Err(Unreadable("--".to_owned()));
    }
    Ok(end)
}

fn end_of_comment(characters: &[char], from: usize) -> Result<usize, Unreadable> {
    let rest = characters.get(from + 2..).unwrap_or_default();
    // A nested comment ends at another place on PostgreSQL than on SQLite; `/*/` begins one too.
    let end = rest.windows(2).position(|pair| pair == ['*', '/']);
    let inside = end.and_then(|end| rest.get(..=end));
    match (end, inside) {
        (Some(end), Some(inside)) if !inside.windows(2).any(|pair| pair == ['/', '*']) => {
            Ok(from + 2 + end + 2)
        }
        _ => Err(Unreadable("/*".to_owned())),
    }
}

/// A word that touches a number is a word of its own to some releases, and so is one before a quote: `1FROM`, `1E'…'`.
fn end_of_number(characters: &[char], from: usize) -> Result<usize, Unreadable> {
    let end = end_of(characters, from, |letter| {
        !letter.is_ascii_alphanumeric() && letter != '.'
    });
    let number = characters.get(from..end).unwrap_or_default();
    let is_of_number =
        |letter: &char| letter.is_ascii_hexdigit() || ['x', 'X', '.'].contains(letter);
    let touched = matches!(characters.get(end), Some('\'' | '"' | '_' | '$'));
    if touched || !number.iter().all(is_of_number) {
        return Err(Unreadable(number.iter().collect()));
    }
    Ok(end)
}

/// `E'…'`, `X'…'`, `U&'…'` are strings and names with rules of their own. Blobs are bound, not written. A dollar belongs to
/// a word on PostgreSQL.
fn end_of_word(characters: &[char], from: usize) -> Result<usize, Unreadable> {
    let end = end_of(characters, from, |letter| !is_word(letter));
    let word = characters.get(from..end).unwrap_or_default();
    let is_escaped = ['u', 'U'].contains(word.last().unwrap_or(&' '))
        && characters.get(end) == Some(&'&')
        && matches!(characters.get(end + 1), Some('"' | '\''));
    if is_escaped || matches!(characters.get(end), Some('\'' | '$')) {
        return Err(Unreadable(word.iter().collect()));
    }
    Ok(end)
}

/// The position after the closing quote; a doubled quote stands for itself. A text ends at a zero on the one database only.
fn end_of_quoted(characters: &[char], from: usize, quote: char) -> Result<usize, Unreadable> {
    let mut at = from + 1;
    while let Some(&character) = characters.get(at) {
        if character == quote {
            if characters.get(at + 1) != Some(&quote) {
                return Ok(at + 1);
            }
            at += 1;
        } else if character == '\0' {
            break;
        }
        at += 1;
    }
    Err(Unreadable(quote.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_databases_read_in_different_ways_is_not_read() {
        for sql in [
            "SELECT 'a' -- \r UNION SELECT set_config('role', 'none', false) \n",
            "SELECT 'a' -- \r\r\n",
            "SELECT 1 /* /*/ ' */ */ , set_config('role', 'none', false) -- '",
            "SELECT 1 /* /* */ */",
            "SELECT 1FROM hosts",
            "SELECT 1E'\\' , 2 --'",
            "SELECT a$1 FROM b",
            "SELECT u&\"\\0061\"",
            "SELECT $$a$$",
            "SELECT * FROM\u{a0}hosts",
            "SELECT * FROM bul\u{212a}_a",
            "SELECT \u{b}1",
            "SELECT 'a\0'",
        ] {
            assert!(tokens(sql).is_err(), "{sql:?}");
        }
        for sql in [
            "SELECT 1 -- a\r\nFROM b",
            "SELECT 1 -- a\r",
            "SELECT 1e5, 1.5, 0xFF, 'ä\u{a0}', \"ä\" /* ä **/ -- ä",
            "SELECT /**/ 2*(3)/4",
        ] {
            assert!(tokens(sql).is_ok(), "{sql:?}: {:?}", tokens(sql));
        }
    }

    #[test]
    fn a_text_is_cut_where_its_statements_end() {
        let text = "A ';' -- ;\n; /* ; */ ; B \";\" ;\n-- end";
        assert_eq!(
            statements(text),
            Ok(vec!["A ';' -- ;\n".to_owned(), " B \";\" ".to_owned()])
        );
        assert_eq!(statements(" ;; "), Ok(Vec::new()));
    }
}
