//! The few places where the two databases need different SQL text.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// The type of a column in a JSON row source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Integer,
    Text,
    /// Bytes, written in the JSON as lower-case hex.
    Bytes,
}

impl Dialect {
    /// A sub-select that turns one JSON parameter (`[[…], […]]`) into named, typed columns: many rows travel
    /// as one parameter, so the statement's text stays constant and prepared.
    pub fn rows_from_json(self, parameter: &str, columns: &[(&str, ColumnKind)]) -> String {
        let selected: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(index, (name, kind))| format!("{} AS {name}", self.json_cell(index, *kind)))
            .collect();
        let selected = selected.join(", ");
        match self {
            Self::Sqlite => format!("(SELECT {selected} FROM json_each({parameter}) AS source)"),
            Self::Postgres => format!(
                "(SELECT {selected} FROM json_array_elements(CAST({parameter} AS json)) AS source(value))"
            ),
        }
    }

    /// Locks the rows a transaction reads before it decides; one writer needs no lock on SQLite.
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// The bytes of a binary expression from `start` (1-based) for `length`; the same name on both.
    pub fn bytes_slice(self, expression: &str, start: &str, length: &str) -> String {
        match self {
            Self::Sqlite => format!("substr({expression}, {start}, {length})"),
            Self::Postgres => format!(
                "substring({expression} FROM CAST({start} AS integer) FOR CAST({length} AS integer))"
            ),
        }
    }

    fn json_cell(self, index: usize, kind: ColumnKind) -> String {
        let cell = format!("(source.value->>{index})");
        match (self, kind) {
            (Self::Sqlite, ColumnKind::Integer | ColumnKind::Text) => cell,
            (Self::Sqlite, ColumnKind::Bytes) => format!("unhex{cell}"),
            (Self::Postgres, ColumnKind::Text) => cell,
            (Self::Postgres, ColumnKind::Integer) => format!("CAST({cell} AS bigint)"),
            (Self::Postgres, ColumnKind::Bytes) => format!("decode({cell}, 'hex')"),
        }
    }
}
