//! A module's statements, checked and put into the database's own form. Used by the real service and by tests.

use fleetwright_plugin_api::abi::{AbiStatement, AbiTable, Op, RString, RVec, op_kind};
use fleetwright_plugin_api::cells;
use fleetwright_plugin_api::sdk::ServerError;
use fleetwright_plugin_api::wire::{
    BYTES_PER_READ_MAX, Cell, ROWS_PER_READ_MAX, ROWS_PER_WRITE_MAX,
};

use crate::db::{DbError, Dialect, Guest, Rows, Statement, Tx};
use crate::modules::sql_guard::{self, SqlUse};

/// Where a bulk write names its rows.
const ROWS_MARK: &str = "{rows}";
/// Statements in one read: a page and what belongs to it.
const STATEMENTS_MAX: usize = 64;
/// Parameters of one statement of a write of rows, unless a single row has more. SQLite looks for a parameter among those
/// before it, when a statement is compiled and each time it is bound, so that a thousand rows take longer in one statement
/// than in fifty; and of equal statements only the first is compiled.
const PARAMETERS_EACH: usize = 500;

/// A checked SQL step, ready to run in a transaction.
pub struct SqlStep {
    statements: Vec<Statement>,
    expected_rows: Option<u64>,
}

/// Why a step did not run.
pub enum StepError {
    Db(DbError),
    /// Another number of rows was affected than the module requires.
    Guard {
        affected: u64,
    },
}

impl SqlStep {
    /// From an op of one of the two SQL kinds.
    pub fn of(op: &Op, module: &str) -> Result<Self, ServerError> {
        let sql = op.text.as_str();
        check(sql, module, SqlUse::Write)?;
        let cells = unpack(&op.cells)?;
        if op.kind == op_kind::SQL_ROWS {
            let columns = usize::try_from(op.number).unwrap_or_default();
            return Ok(Self {
                statements: row_statements(sql, columns, cells)?,
                expected_rows: None,
            });
        }
        Ok(Self {
            statements: vec![bind(sql.to_owned(), cells)],
            expected_rows: u64::try_from(op.number).ok(),
        })
    }

    /// As the module that it was checked for: the database itself keeps it to that module's tables.
    pub fn run(self, tx: &mut Tx<'_>, guest: &Guest) -> Result<(), StepError> {
        let mut affected = 0;
        for statement in self.statements {
            affected += tx.execute_as(guest, statement).map_err(StepError::Db)?;
        }
        match self.expected_rows {
            Some(expected) if expected != affected => Err(StepError::Guard { affected }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Checked statements of a read.
pub fn reads(statements: RVec<AbiStatement>, module: &str) -> Result<Vec<Statement>, ServerError> {
    if statements.len() > STATEMENTS_MAX {
        return Err(ServerError::Invalid(format!(
            "{} statements in one read",
            statements.len()
        )));
    }
    let one = |statement: AbiStatement| {
        let sql = String::from(statement.sql);
        check(&sql, module, SqlUse::Read)?;
        Ok(bind(sql, unpack(&statement.cells)?))
    };
    statements.into_iter().map(one).collect()
}

/// Packs results for the other side, within the limits of one read.
pub fn tables(results: Vec<Rows>) -> Result<Vec<AbiTable>, ServerError> {
    let rows: usize = results.iter().map(Rows::len).sum();
    if rows > ROWS_PER_READ_MAX {
        return Err(ServerError::TooLarge(format!(
            "{rows} rows in one read, at most {ROWS_PER_READ_MAX}"
        )));
    }
    let mut bytes = 0;
    let mut tables = Vec::with_capacity(results.len());
    for result in results {
        let mut packed = Vec::new();
        for cell in result.cells() {
            cells::push(&mut packed, cell);
        }
        bytes += packed.len();
        if bytes > BYTES_PER_READ_MAX {
            return Err(ServerError::TooLarge(
                "more than 4 MiB in one read".to_owned(),
            ));
        }
        tables.push(AbiTable {
            columns: result
                .columns()
                .iter()
                .map(|name| RString::from(name.as_str()))
                .collect(),
            rows: result.len() as u64,
            cells: packed.into(),
            ext: RVec::new(),
        });
    }
    Ok(tables)
}

pub fn dialect_number(dialect: Dialect) -> u32 {
    match dialect {
        Dialect::Sqlite => 1,
        Dialect::Postgres => 2,
    }
}

fn check(sql: &str, module: &str, what: SqlUse) -> Result<(), ServerError> {
    sql_guard::check(sql, module, what).map_err(|refusal| match refusal {
        sql_guard::SqlRefusal::ForeignTable(_) => ServerError::Forbidden(refusal.to_string()),
        sql_guard::SqlRefusal::Kind(_)
        | sql_guard::SqlRefusal::Several
        | sql_guard::SqlRefusal::Function(_)
        | sql_guard::SqlRefusal::Word(_)
        | sql_guard::SqlRefusal::Quoting(_) => ServerError::Invalid(refusal.to_string()),
    })
}

fn unpack(packed: &[u8]) -> Result<Vec<Cell>, ServerError> {
    cells::unpack(packed).map_err(|error| ServerError::Invalid(error.to_string()))
}

fn bind(sql: String, cells: Vec<Cell>) -> Statement {
    cells.into_iter().fold(Statement::new(sql), Statement::bind)
}

/// Equal statements, but for the last, with all rows.
fn row_statements(
    sql: &str,
    columns: usize,
    cells: Vec<Cell>,
) -> Result<Vec<Statement>, ServerError> {
    let refuse = |why: String| Err(ServerError::Invalid(why));
    if sql.matches(ROWS_MARK).count() != 1 {
        return refuse("a write of rows needs exactly one {rows}".to_owned());
    }
    if columns == 0 || !cells.len().is_multiple_of(columns) {
        return refuse(format!(
            "{} cells do not fill rows of {columns}",
            cells.len()
        ));
    }
    if cells.len() / columns > ROWS_PER_WRITE_MAX {
        return refuse(format!("more than {ROWS_PER_WRITE_MAX} rows in one step"));
    }
    let rows_each = (PARAMETERS_EACH / columns).max(1);
    let chunk = |cells: &[Cell]| {
        let row = |first: usize| {
            let places: Vec<String> = (first..first + columns)
                .map(|number| format!("${number}"))
                .collect();
            format!("({})", places.join(", "))
        };
        let rows: Vec<String> = (0..cells.len() / columns)
            .map(|number| row(number * columns + 1))
            .collect();
        bind(sql.replace(ROWS_MARK, &rows.join(", ")), cells.to_vec())
    };
    Ok(cells.chunks(rows_each * columns).map(chunk).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_statements_of_whole_rows_with_few_parameters() {
        let cells: Vec<Cell> = (0..400).map(Cell::Integer).collect();
        let statements = row_statements("x {rows}", 4, cells).expect("rows");
        let bound: Vec<usize> = statements.iter().map(Statement::bound).collect();
        assert_eq!(bound, [400]);
        let wide: Vec<Cell> = (0..600).map(Cell::Integer).collect();
        let statements = row_statements("x {rows}", 600, wide).expect("rows");
        assert_eq!(statements.len(), 1, "a row is never parted");
        let many: Vec<Cell> = (0..1_200).map(Cell::Integer).collect();
        let statements = row_statements("x {rows} y", 30, many).expect("rows");
        let bound: Vec<usize> = statements.iter().map(Statement::bound).collect();
        assert_eq!(bound, [480, 480, 240]);
        assert_eq!(statements[0].sql(), statements[1].sql());
        assert!(
            statements[1].sql().starts_with("x ($1, $2,") && statements[1].sql().ends_with(") y")
        );
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let cells = vec![Cell::Null; 6];
        assert!(row_statements("x {rows}", 4, cells.clone()).is_err());
        assert!(row_statements("x {rows}", 0, cells.clone()).is_err());
        assert!(row_statements("x", 3, cells.clone()).is_err());
        assert!(row_statements("{rows} {rows}", 3, cells).is_err());
        assert!(row_statements("{rows}", 1, vec![Cell::Null; 5_001]).is_err());
    }
}
