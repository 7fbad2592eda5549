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

/// Ids one after the other, for [`Dialect::rows_from_ids`].
pub fn packed<'a>(ids: impl ExactSizeIterator<Item = &'a [u8; 16]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() * 16);
    for id in ids {
        bytes.extend_from_slice(id);
    }
    bytes
}

impl ColumnKind {
    fn postgres_type(self) -> &'static str {
        match self {
            Self::Integer => "bigint",
            Self::Text => "text",
            Self::Bytes => "bytea",
        }
    }
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

    /// A sub-select over 16-byte ids that stand one after the other in one parameter: their places, from 0, and the ids.
    /// Ids alone cost a tenth of what they cost as JSON.
    pub fn rows_from_ids(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!(
                "(WITH RECURSIVE places(place) AS (SELECT 0 WHERE length({parameter}) > 0 UNION ALL \
                 SELECT place + 1 FROM places WHERE place * 16 + 32 <= length({parameter})) \
                 SELECT place, substr({parameter}, place * 16 + 1, 16) AS id FROM places)"
            ),
            Self::Postgres => format!(
                "(SELECT place, substring({parameter} FROM place * 16 + 1 FOR 16) AS id \
                 FROM generate_series(0, length({parameter}) / 16 - 1) AS places(place))"
            ),
        }
    }

    /// Whether a column's id is among the ids in one parameter, as above.
    pub fn is_among(self, column: &str, parameter: &str) -> String {
        let source = self.rows_from_ids(parameter);
        match self {
            Self::Sqlite => format!("{column} IN (SELECT id FROM {source} AS ids)"),
            // Of an array the planner expects a few elements and uses the index, whatever it believes of the table.
            Self::Postgres => format!("{column} = ANY(ARRAY(SELECT id FROM {source} AS ids))"),
        }
    }

    /// A sub-select of so many rows of parameters, the first of them `$1`; the columns are `column1`, `column2` ….
    pub fn rows_of_parameters(self, columns: &[ColumnKind], rows: usize) -> String {
        let mut text = String::from("(VALUES ");
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { ", (" });
            for (column, kind) in columns.iter().enumerate() {
                if column > 0 {
                    text.push_str(", ");
                }
                let number = row * columns.len() + column + 1;
                // The first row's types are those of all.
                let typed = match (self, row) {
                    (Self::Postgres, 0) => format!("CAST(${number} AS {})", kind.postgres_type()),
                    (Self::Postgres | Self::Sqlite, _) => format!("${number}"),
                };
                text.push_str(&typed);
            }
            text.push(')');
        }
        text.push(')');
        text
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
