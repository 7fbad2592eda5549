//! Splits an expression into tokens with their columns. Not their grammar: that is `parser`.

use std::iter::Peekable;
use std::str::Chars;

use crate::characters::{first_forbidden_in_expression, forbidden_detail};
use crate::violation::code;

use super::ExpressionError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Of its first character, from 1.
    pub(super) column: usize,
    /// Of the character after its last.
    pub(super) end_column: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Bare: a keyword, a field name, an operator or a value, which only the grammar can tell.
    Word(String),
    Quoted(String),
    Symbol(Symbol),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Open,
    Close,
    Comma,
}

/// Whether the character can stand in a bare word. Enough for names, numbers, versions, times and addresses.
pub(super) fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_-.:/+@".contains(character)
}

/// Splits the whole text.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, ExpressionError> {
    if let Some((position, character)) = first_forbidden_in_expression(text) {
        let detail = forbidden_detail(character);
        return Err(ExpressionError {
            column: position + 1,
            code: code::TEXT_INVALID,
            detail,
        });
    }
    let mut cursor = Cursor {
        characters: text.chars().peekable(),
        column: 1,
    };
    let mut tokens = Vec::new();
    loop {
        while cursor.next_if(char::is_whitespace).is_some() {}
        let column = cursor.column;
        let Some(first) = cursor.next() else {
            return Ok(tokens);
        };
        let kind = match first {
            '"' => TokenKind::Quoted(cursor.quoted(column)?),
            '\'' => TokenKind::Quoted(cursor.raw(column)?),
            _ if is_word_character(first) => TokenKind::Word(cursor.word(first)),
            _ => TokenKind::Symbol(cursor.symbol(first, column)?),
        };
        tokens.push(Token {
            kind,
            column,
            end_column: cursor.column,
        });
    }
}

struct Cursor<'a> {
    characters: Peekable<Chars<'a>>,
    column: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<char> {
        self.next_if(|_| true)
    }

    fn next_if(&mut self, accept: impl Fn(char) -> bool) -> Option<char> {
        let character = self.characters.next_if(|&character| accept(character))?;
        self.column += 1;
        Some(character)
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(character) = self.next_if(is_word_character) {
            word.push(character);
        }
        word
    }

    fn quoted(&mut self, start: usize) -> Result<String, ExpressionError> {
        let mut text = String::new();
        loop {
            let column = self.column;
            match self.next() {
                None => return Err(error(start, "this quote is not closed")),
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some(escaped @ ('"' | '\\')) => text.push(escaped),
                    Some(_) | None => {
                        let detail = "only \\\" and \\\\ are escapes; write \\\\ for a backslash, or use 'single quotes'";
                        return Err(error(column, detail));
                    }
                },
                Some(character) => text.push(character),
            }
        }
    }

    fn raw(&mut self, start: usize) -> Result<String, ExpressionError> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(error(start, "this quote is not closed")),
                Some('\'') => return Ok(text),
                Some(character) => text.push(character),
            }
        }
    }

    fn symbol(&mut self, first: char, column: usize) -> Result<Symbol, ExpressionError> {
        let mut followed_by_equal = || self.next_if(|character| character == '=').is_some();
        match first {
            '=' => Ok(Symbol::Equal),
            '!' if followed_by_equal() => Ok(Symbol::NotEqual),
            '>' if followed_by_equal() => Ok(Symbol::GreaterOrEqual),
            '>' => Ok(Symbol::Greater),
            '<' if followed_by_equal() => Ok(Symbol::LessOrEqual),
            '<' => Ok(Symbol::Less),
            '~' => Ok(Symbol::Tilde),
            '(' => Ok(Symbol::Open),
            ')' => Ok(Symbol::Close),
            ',' => Ok(Symbol::Comma),
            other => Err(error(
                column,
                format!("\"{other}\" is not expected here; values with such characters are quoted"),
            )),
        }
    }
}

fn error(column: usize, detail: impl Into<String>) -> ExpressionError {
    ExpressionError {
        column,
        code: code::EXPRESSION_INVALID,
        detail: detail.into(),
    }
}
