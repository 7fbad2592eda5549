//! The grammar of the text form, by recursive descent with bounded nesting. Leaves are compiled by the same code as those of JSON.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value as Json;

use crate::compile::{Fault, Part, compile_leaf};
use crate::criterion::Criterion;
use crate::field::{AGENT_ATTRIBUTE_PREFIX, ATTRIBUTE_PREFIX, Field, HostField};
use crate::limits::{DEPTH_MAX, LEAVES_MAX, MATCHES_MAX, SELECTOR_BYTES_MAX, TEXT_NESTING_MAX};
use crate::op::Op;
use crate::violation::code;

use super::lexer::{Symbol, Token, TokenKind, tokenize};
use super::{Expression, ExpressionError};

/// Reads an expression.
///
/// # Errors
/// The first fault, with its column.
pub fn parse_expression(text: &str) -> Result<Expression, ExpressionError> {
    if text.len() > SELECTOR_BYTES_MAX {
        let detail = format!("an expression is at most {SELECTOR_BYTES_MAX} bytes");
        return Err(ExpressionError {
            column: 1,
            code: code::TOO_LARGE,
            detail,
        });
    }
    let tokens = tokenize(text)?;
    if tokens.is_empty() {
        let detail = "the expression is empty; to select every host say \"all\"".to_owned();
        return Err(ExpressionError {
            column: 1,
            code: code::EMPTY,
            detail,
        });
    }
    if let [
        Token {
            kind: TokenKind::Word(word),
            ..
        },
    ] = tokens.as_slice()
        && word.eq_ignore_ascii_case("all")
    {
        return Ok(Expression::AllHosts);
    }
    let end_column = tokens.last().map_or(1, |token| token.end_column);
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        end_column,
        leaves: 0,
        matches: 0,
    };
    let criterion = parser.any(0)?;
    if let Some(token) = parser.tokens.next() {
        return Err(invalid(token.column, "expected and, or, or the end"));
    }
    let criteria = match criterion {
        Criterion::All(parts) => parts,
        other @ (Criterion::Leaf(_) | Criterion::Any(_) | Criterion::Not(_)) => vec![other],
    };
    if criteria
        .iter()
        .any(|criterion| criterion.depth() > DEPTH_MAX)
    {
        let detail = format!("criteria are nested at most {DEPTH_MAX} deep");
        return Err(ExpressionError {
            column: 1,
            code: code::DEPTH,
            detail,
        });
    }
    Ok(Expression::Criteria(criteria))
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    /// Where a token is missing at the end.
    end_column: usize,
    leaves: usize,
    matches: usize,
}

/// A value as written: a bare word may be a number or a truth value, a quoted text is always a text.
struct Operand {
    text: String,
    is_quoted: bool,
    column: usize,
}

/// Where the parts of a leaf are written.
struct Columns {
    field: usize,
    op: usize,
    value: usize,
    elements: Vec<usize>,
}

/// An operator as written: `not` before a positive operator that has no negative of its own negates the leaf.
struct WrittenOp {
    name: String,
    negated: bool,
    column: usize,
}

impl Parser {
    fn any(&mut self, nesting: usize) -> Result<Criterion, ExpressionError> {
        let mut parts = vec![self.all(nesting)?];
        while self.take_keyword("or").is_some() {
            parts.push(self.all(nesting)?);
        }
        Ok(Criterion::any_of(parts))
    }

    fn all(&mut self, nesting: usize) -> Result<Criterion, ExpressionError> {
        let mut parts = vec![self.unary(nesting)?];
        while self.take_keyword("and").is_some() {
            parts.push(self.unary(nesting)?);
        }
        Ok(Criterion::all_of(parts))
    }

    fn unary(&mut self, nesting: usize) -> Result<Criterion, ExpressionError> {
        if nesting > TEXT_NESTING_MAX {
            let detail = format!("brackets and not are nested at most {TEXT_NESTING_MAX} deep");
            return Err(ExpressionError {
                column: self.next_column(),
                code: code::DEPTH,
                detail,
            });
        }
        if self.take_keyword("not").is_some() {
            return self.unary(nesting + 1).map(Criterion::negation);
        }
        if let Some(open) = self.take_symbol(Symbol::Open) {
            let inner = self.any(nesting + 1)?;
            return match self.take_symbol(Symbol::Close) {
                Some(_) => Ok(inner),
                None if self.tokens.peek().is_none() => {
                    Err(invalid(open, "this bracket is not closed"))
                }
                None => Err(invalid(
                    self.next_column(),
                    "expected and, or, or a closing bracket",
                )),
            };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Criterion, ExpressionError> {
        let field_column = self.next_column();
        let field = self.field_name()?;
        let op = self.op()?;
        let mut columns = Columns {
            field: field_column,
            op: op.column,
            value: self.next_column(),
            elements: Vec::new(),
        };
        let kind = Field::parse(&field);
        let value = match Op::parse(&op.name) {
            Some(Op::Exists) => op.negated.then_some(Json::Bool(false)),
            Some(Op::In | Op::NotIn) => Some(self.list(kind.as_ref(), &mut columns)?),
            Some(_) | None => Some(typed(self.operand()?, kind.as_ref())),
        };
        self.count(&op, field_column)?;
        let leaf = compile_leaf(&field, &op.name, value.as_ref())
            .map_err(|faults| at_columns(faults, &columns))?;
        let leaf = Criterion::Leaf(leaf);
        let negated = op.negated && op.name != Op::Exists.name();
        Ok(if negated {
            Criterion::negation(leaf)
        } else {
            leaf
        })
    }

    fn field_name(&mut self) -> Result<String, ExpressionError> {
        let column = self.next_column();
        let Some(Token {
            kind: TokenKind::Word(word),
            end_column,
            ..
        }) = self.tokens.next()
        else {
            return Err(invalid(column, "expected a field name"));
        };
        let is_keyword = ["and", "or", "in", "all"]
            .iter()
            .any(|keyword| word.eq_ignore_ascii_case(keyword));
        if is_keyword {
            return Err(invalid(
                column,
                format!("expected a field name before \"{word}\""),
            ));
        }
        if [ATTRIBUTE_PREFIX, AGENT_ATTRIBUTE_PREFIX].contains(&word.as_str())
            && let Some(key) = self.tokens.next_if(|token| token.column == end_column)
        {
            return match key.kind {
                TokenKind::Quoted(key) => Ok(word + &key),
                TokenKind::Word(_) | TokenKind::Symbol(_) => {
                    Err(invalid(key.column, "expected the key of an attribute"))
                }
            };
        }
        Ok(word)
    }

    fn op(&mut self) -> Result<WrittenOp, ExpressionError> {
        let column = self.next_column();
        let negated = self.take_keyword("not").is_some();
        let name = match self.tokens.next().map(|token| token.kind) {
            Some(TokenKind::Symbol(symbol)) => match symbol_op(symbol) {
                Some(op) if !negated || op == Op::Matches => op.name().to_owned(),
                Some(_) | None => return Err(expected_op(column)),
            },
            Some(TokenKind::Word(word)) => word.to_ascii_lowercase(),
            Some(TokenKind::Quoted(_)) | None => return Err(expected_op(column)),
        };
        let Some(op) = Op::parse(&name) else {
            // A name that is no operator gets the code of its own that the JSON form has.
            return Ok(WrittenOp {
                name,
                negated,
                column,
            });
        };
        if !negated {
            return Ok(WrittenOp {
                name,
                negated,
                column,
            });
        }
        match op {
            Op::In => Ok(WrittenOp {
                name: Op::NotIn.name().to_owned(),
                negated: false,
                column,
            }),
            Op::Contains | Op::StartsWith | Op::EndsWith | Op::Matches | Op::Exists => {
                Ok(WrittenOp {
                    name,
                    negated,
                    column,
                })
            }
            Op::Equals
            | Op::NotEquals
            | Op::NotIn
            | Op::Gt
            | Op::Gte
            | Op::Lt
            | Op::Lte
            | Op::VersionGt
            | Op::VersionGte
            | Op::VersionLt
            | Op::VersionLte => Err(invalid(
                column,
                format!("put not before the field, not before {name}"),
            )),
        }
    }

    fn list(
        &mut self,
        kind: Option<&Field>,
        columns: &mut Columns,
    ) -> Result<Json, ExpressionError> {
        if self.take_symbol(Symbol::Open).is_none() {
            return Err(invalid(
                self.next_column(),
                "expected a list in brackets, such as (web, db)",
            ));
        }
        let mut elements = Vec::new();
        loop {
            let operand = self.operand()?;
            columns.elements.push(operand.column);
            elements.push(typed(operand, kind));
            if self.take_symbol(Symbol::Close).is_some() {
                return Ok(Json::Array(elements));
            }
            if self.take_symbol(Symbol::Comma).is_none() {
                return Err(invalid(
                    self.next_column(),
                    "expected a comma or a closing bracket",
                ));
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, ExpressionError> {
        let column = self.next_column();
        match self.tokens.next().map(|token| token.kind) {
            Some(TokenKind::Word(text)) => Ok(Operand {
                text,
                is_quoted: false,
                column,
            }),
            Some(TokenKind::Quoted(text)) => Ok(Operand {
                text,
                is_quoted: true,
                column,
            }),
            Some(TokenKind::Symbol(_)) | None => Err(invalid(column, "expected a value")),
        }
    }

    fn count(&mut self, op: &WrittenOp, column: usize) -> Result<(), ExpressionError> {
        self.leaves += 1;
        self.matches += usize::from(op.name == Op::Matches.name());
        let detail = if self.leaves > LEAVES_MAX {
            format!("a selector has at most {LEAVES_MAX} leaves")
        } else if self.matches > MATCHES_MAX {
            format!("a selector has at most {MATCHES_MAX} leaves with matches")
        } else {
            return Ok(());
        };
        Err(ExpressionError {
            column,
            code: code::LEAVES,
            detail,
        })
    }

    fn next_column(&mut self) -> usize {
        self.tokens
            .peek()
            .map_or(self.end_column, |token| token.column)
    }

    fn take_keyword(&mut self, keyword: &str) -> Option<Token> {
        self.tokens.next_if(|token| matches!(&token.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword)))
    }

    /// The column of the symbol, if it is next.
    fn take_symbol(&mut self, symbol: Symbol) -> Option<usize> {
        self.tokens
            .next_if(|token| token.kind == TokenKind::Symbol(symbol))
            .map(|token| token.column)
    }
}

fn symbol_op(symbol: Symbol) -> Option<Op> {
    match symbol {
        Symbol::Equal => Some(Op::Equals),
        Symbol::NotEqual => Some(Op::NotEquals),
        Symbol::Greater => Some(Op::Gt),
        Symbol::GreaterOrEqual => Some(Op::Gte),
        Symbol::Less => Some(Op::Lt),
        Symbol::LessOrEqual => Some(Op::Lte),
        Symbol::Tilde => Some(Op::Matches),
        Symbol::Open | Symbol::Close | Symbol::Comma => None,
    }
}

/// The JSON value the operand stands for, given the field it is compared with.
fn typed(operand: Operand, field: Option<&Field>) -> Json {
    let as_number = || operand.text.parse::<i64>().ok().map(Json::from);
    let typed = match field {
        Some(Field::Host(HostField::Number(field))) if !operand.is_quoted && !field.is_time() => {
            as_number()
        }
        Some(Field::Host(HostField::Bool(_))) if !operand.is_quoted => {
            operand.text.parse().ok().map(Json::Bool)
        }
        Some(Field::Host(_) | Field::Group) | None => None,
    };
    typed.unwrap_or(Json::String(operand.text))
}

/// The first fault of a leaf, where it is written.
fn at_columns(faults: Vec<Fault>, columns: &Columns) -> ExpressionError {
    let Some(first) = faults.into_iter().next() else {
        return invalid(columns.field, "this criterion is invalid");
    };
    let column = match first.part {
        Part::Field => columns.field,
        Part::Op => columns.op,
        Part::Value => columns.value,
        Part::Element(position) => columns
            .elements
            .get(position)
            .copied()
            .unwrap_or(columns.value),
    };
    ExpressionError {
        column,
        code: first.code,
        detail: first.detail,
    }
}

fn expected_op(column: usize) -> ExpressionError {
    invalid(
        column,
        "expected an operator, such as =, !=, in or contains",
    )
}

fn invalid(column: usize, detail: impl Into<String>) -> ExpressionError {
    ExpressionError {
        column,
        code: code::EXPRESSION_INVALID,
        detail: detail.into(),
    }
}
