//! A statement with its parameters: the same for both databases, in the server and in modules.

use std::borrow::Cow;

use fleetwright_protocol::{CommandId, HostId, JournalId, SetId};
use uuid::Uuid;

use crate::wire::Cell;

/// SQL with `$1`-style parameters.
#[derive(Clone, Debug)]
pub struct Statement {
    sql: Cow<'static, str>,
    parameters: Vec<Cell>,
}

impl Statement {
    /// The text is trusted: it comes from the program, never from input. Input is bound.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sql: sql.into(),
            parameters: Vec::new(),
        }
    }

    /// Adds the next parameter. Ids are bound as their 16 bytes, booleans as 0 and 1.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Cell>) -> Self {
        self.parameters.push(value.into());
        self
    }

    /// Adds each of the values as the next parameter, and puts their places where the text says `{list}`: `id IN ({list})`.
    #[must_use]
    pub fn bind_list<T: Into<Cell>>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        let before = self.parameters.len();
        self.parameters.extend(values.into_iter().map(Into::into));
        let places: Vec<String> = (before + 1..=self.parameters.len())
            .map(|place| format!("${place}"))
            .collect();
        self.sql = self.sql.replacen("{list}", &places.join(", "), 1).into();
        self
    }

    /// How many parameters are bound so far: the next one is `$<this + 1>`.
    pub fn bound(&self) -> usize {
        self.parameters.len()
    }

    /// Adds text at the end, such as a lock clause only one dialect has.
    #[must_use]
    pub fn with_suffix(mut self, suffix: &str) -> Self {
        self.sql.to_mut().push_str(suffix);
        self
    }

    /// The text, with the places of its parameters.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The text and the parameters in order, for whoever runs it.
    pub fn into_parts(self) -> (Cow<'static, str>, Vec<Cell>) {
        (self.sql, self.parameters)
    }
}

macro_rules! cell_from {
    ($($type:ty => |$value:ident| $cell:expr),* $(,)?) => {
        $(impl From<$type> for Cell {
            fn from($value: $type) -> Self {
                $cell
            }
        })*
    };
}

cell_from! {
    i64 => |value| Self::Integer(value),
    i32 => |value| Self::Integer(value.into()),
    u32 => |value| Self::Integer(value.into()),
    u16 => |value| Self::Integer(value.into()),
    // Counts and sizes in this program stay far below 2^63.
    u64 => |value| Self::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
    usize => |value| Self::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
    bool => |value| Self::Integer(value.into()),
    f64 => |value| Self::Real(value),
    &str => |value| Self::Text(value.to_owned()),
    String => |value| Self::Text(value),
    &String => |value| Self::Text(value.clone()),
    Vec<u8> => |value| Self::Bytes(value),
    &[u8] => |value| Self::Bytes(value.to_vec()),
    &[u8; 32] => |value| Self::Bytes(value.to_vec()),
    [u8; 32] => |value| Self::Bytes(value.to_vec()),
    Uuid => |value| Self::Bytes(value.as_bytes().to_vec()),
    HostId => |value| Self::Bytes(value.as_bytes().to_vec()),
    CommandId => |value| Self::Bytes(value.as_bytes().to_vec()),
    SetId => |value| Self::Bytes(value.as_bytes().to_vec()),
    JournalId => |value| Self::Bytes(value.as_bytes().to_vec()),
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
