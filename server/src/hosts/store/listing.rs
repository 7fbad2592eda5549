//! The SQL behind `GET /hosts`: keyset pages along an index that fits the filter. Without a search text a page is in
//! id order; with one it is in name order, because that is the index which serves it.

use fleetwright_plugin_api::wire::Cell;
use fleetwright_protocol::HostId;

use super::{COLUMNS, HostRows as _};
use crate::db::{Db, DbError, Statement};
use crate::hosts::host::{Approval, Host, search_name, status_name};

/// What `GET /hosts` can ask for. All set conditions hold together.
#[derive(Clone, Debug, Default)]
pub struct HostFilter {
    pub online: Option<bool>,
    pub approval: Option<Approval>,
    /// A tag that people gave it, exactly.
    pub tag: Option<String>,
    /// The beginning of the FQDN (or host name), in lower case.
    pub name_prefix: Option<String>,
}

/// The last host of the page before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Empty unless the page is in name order.
    pub name: String,
    pub id: HostId,
}

/// Where the next page goes on after `host`.
pub fn position_of(filter: &HostFilter, host: &Host) -> Position {
    let name = match filter.name_prefix {
        Some(_) => search_name(&host.names()),
        None => String::new(),
    };
    Position { name, id: host.id }
}

/// At most `limit` hosts after `after`.
pub async fn list(
    db: &Db,
    filter: &HostFilter,
    after: Option<&Position>,
    limit: u32,
) -> Result<Vec<Host>, DbError> {
    db.read(statement(filter, after, limit)).await?.iter_hosts()
}

/// Conditions and their parameters, numbered as they are added.
#[derive(Default)]
struct Conditions {
    texts: Vec<String>,
    cells: Vec<Cell>,
}

impl Conditions {
    /// `template` names its one parameter `{}`.
    fn add(&mut self, template: &str, value: Cell) {
        let place = self.place(value);
        self.texts.push(template.replace("{}", &place));
    }

    fn place(&mut self, value: Cell) -> String {
        self.cells.push(value);
        format!("${}", self.cells.len())
    }
}

fn statement(filter: &HostFilter, after: Option<&Position>, limit: u32) -> Statement {
    let text = |value: &str| Cell::Text(value.to_owned());
    let mut conditions = Conditions::default();
    if let Some(online) = filter.online {
        conditions.add("hosts.status = {}", text(status_name(online)));
    }
    if let Some(approval) = filter.approval {
        conditions.add("hosts.approval_status = {}", text(approval.as_str()));
    }
    let (from, id) = match &filter.tag {
        None => ("hosts", "hosts.id"),
        Some(tag) => {
            conditions.add("host_tags.tag = {}", text(tag));
            let from = "host_tags JOIN hosts ON hosts.id = host_tags.host_id";
            (from, "host_tags.host_id")
        }
    };
    let order = match &filter.name_prefix {
        None => id,
        Some(prefix) => {
            conditions.add("hosts.search_name >= {}", text(prefix));
            if let Some(end) = prefix_end(prefix) {
                conditions.add("hosts.search_name < {}", Cell::Text(end));
            }
            "hosts.search_name, hosts.id"
        }
    };
    if let Some(after) = after {
        let after_id = Cell::Bytes(after.id.as_bytes().to_vec());
        if filter.name_prefix.is_some() {
            let name = conditions.place(text(&after.name));
            conditions.add(
                &format!("(hosts.search_name, hosts.id) > ({name}, {{}})"),
                after_id,
            );
        } else {
            conditions.add(&format!("{id} > {{}}"), after_id);
        }
    }
    let limit = conditions.place(Cell::Integer(limit.into()));
    let filter = if conditions.texts.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.texts.join(" AND "))
    };
    let columns: Vec<String> = COLUMNS
        .split(", ")
        .map(|column| format!("hosts.{column}"))
        .collect();
    let columns = columns.join(", ");
    let sql = format!("SELECT {columns} FROM {from}{filter} ORDER BY {order} LIMIT {limit}");
    conditions
        .cells
        .into_iter()
        .fold(Statement::new(sql), Statement::bind)
}

/// The smallest text above every text that starts with `prefix`, in code point order, which is byte order in UTF-8.
fn prefix_end(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // The next character; a range of `char` steps over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_of_a_prefix_carries() {
        assert_eq!(prefix_end("web"), Some("wec".into()));
        assert_eq!(prefix_end("a\u{10FFFF}"), Some("b".into()));
        assert_eq!(prefix_end("\u{D7FF}"), Some("\u{E000}".into()));
        assert_eq!(prefix_end("\u{10FFFF}"), None);
        assert_eq!(prefix_end(""), None);
    }

    proptest! {
        #[test]
        fn a_text_is_in_the_range_exactly_if_it_starts_with_the_prefix(prefix in "[a-c\u{10FFFF}]{1,3}", text in "[a-c\u{10FFFF}]{0,5}") {
            let above_start = text.as_bytes() >= prefix.as_bytes();
            let below_end = prefix_end(&prefix).is_none_or(|end| text.as_bytes() < end.as_bytes());
            prop_assert_eq!(above_start && below_end, text.starts_with(&prefix));
        }
    }

    #[test]
    fn parameters_are_numbered_in_the_order_they_are_bound() {
        let filter = HostFilter {
            online: Some(true),
            approval: Some(Approval::Approved),
            tag: Some("web".into()),
            name_prefix: Some("w".into()),
        };
        let after = Position {
            name: "web-1".into(),
            id: HostId(uuid::Uuid::from_u128(1)),
        };
        let statement = statement(&filter, Some(&after), 10);
        assert_eq!(statement.bound(), 8);
        for number in 1..=8 {
            assert!(
                statement.sql().contains(&format!("${number}")),
                "{}",
                statement.sql()
            );
        }
        assert!(
            statement
                .sql()
                .ends_with("ORDER BY hosts.search_name, hosts.id LIMIT $8")
        );
    }
}
