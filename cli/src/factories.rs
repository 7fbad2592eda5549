//! `fleetwright factories`: who takes jobs, and a worker of one's own.

use clap::Subcommand;
use serde_json::Value;

use crate::client::escape;
use crate::factory::{self, RunArgs};
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages;
use crate::pages::ListArgs;
use crate::session::Session;
use crate::table::Cell;

#[derive(Subcommand)]
pub enum FactoriesAction {
    /// List factories
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one, with the jobs it holds
    Show {
        /// Its name or id
        factory: String,
    },
    /// Claim jobs, and do each with a command
    Run(Box<RunArgs>),
}

/// As many as a page of the server: names are looked up in these.
const NAMED_MAX: usize = 10_000;

const COLUMNS: [Column; 6] = [
    Column {
        title: "NAME",
        cell: |factory| output::plain(factory, "name"),
    },
    Column {
        title: "STATE",
        cell: |factory| output::status(factory, "state"),
    },
    Column {
        title: "SEATS",
        cell: |factory| {
            let of = |name: &str| output::field(factory, name);
            Cell::plain(format!("{}/{}", of("seats_used"), of("seat_limit")))
        },
    },
    Column {
        title: "CAPABILITIES",
        cell: |factory| output::plain(factory, "capabilities"),
    },
    Column {
        title: "SEEN",
        cell: |factory| output::plain(factory, "seen_at"),
    },
    Column {
        title: "ID",
        cell: |factory| output::plain(factory, "id"),
    },
];

pub fn run(session: &Session, action: FactoriesAction) -> Result<Completion, Failure> {
    let client = &session.client;
    match action {
        FactoriesAction::List { list } => {
            let factories = pages::collect(client, "/fleet/factories", list.limit)?;
            output::items(session, &factories, &COLUMNS)?;
        }
        FactoriesAction::Show { factory } => {
            let id = resolve(session, &factory)?;
            let path = format!("/fleet/factories/{}", escape(&id));
            output::item(session, &client.get(&path)?)?;
        }
        FactoriesAction::Run(args) => return factory::run(session, *args),
    }
    Ok(Completion::Done)
}

/// The id of the factory of that name or id.
pub fn resolve(session: &Session, factory: &str) -> Result<String, Failure> {
    if uuid::Uuid::parse_str(factory).is_ok() {
        return Ok(factory.to_owned());
    }
    let all = pages::collect(&session.client, "/fleet/factories", NAMED_MAX)?;
    named(&all, factory)
}

/// Tenants may call theirs alike.
fn named(all: &[Value], name: &str) -> Result<String, Failure> {
    let of_name = |one: &&Value| output::field(one, "name") == name;
    let found: Vec<&Value> = all.iter().filter(of_name).collect();
    match found.as_slice() {
        [one] => Ok(output::field(one, "id")),
        [] => Err(Failure::Input(format!("there is no factory {name}"))),
        _ => Err(Failure::Input(format!(
            "there are {} factories {name}: name one by its id",
            found.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_one_factory_or_an_error() {
        let one = |name: &str, id: &str| json!({"name": name, "id": id});
        let all = [one("a", "1"), one("b", "2"), one("b", "3")];
        assert_eq!(named(&all, "a").ok().as_deref(), Some("1"));
        for name in ["b", "c"] {
            assert!(named(&all, name).is_err(), "{name}");
        }
    }
}
