//! `fleetwright budgets`: what products may spend, and what they have spent.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::session::Session;
use crate::{pages, prompt};

#[derive(Subcommand)]
pub enum BudgetsAction {
    /// List budgets, by product
    List {
        /// Only those that are paused (true), or that are not (false)
        #[arg(long, value_name = "BOOL")]
        paused: Option<bool>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one
    Show { product: String },
    /// Set what may be spent in a window of the calendar (UTC)
    Set {
        product: String,
        /// In USD, such as 100 or 12.5
        ceiling: String,
        #[arg(long, value_enum)]
        window: Window,
    },
    /// Let nothing of the product be claimed until it is resumed
    Pause { product: String },
    /// Go on
    Resume { product: String },
    /// Record what was spent; a key is counted once
    Spend {
        product: String,
        /// In USD, such as 0.25
        amount: String,
        /// What this spending is called, so that repeating it counts nothing twice
        #[arg(long)]
        key: String,
        /// The job that spent it
        #[arg(long, requires = "lease_epoch")]
        job: Option<String>,
        /// The epoch of its lease
        #[arg(long, requires = "job")]
        lease_epoch: Option<u64>,
    },
    /// What was spent on which day (UTC), newest first
    History {
        product: String,
        #[command(flatten)]
        list: ListArgs,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Window {
    Daily,
    /// From Monday
    Weekly,
    Monthly,
    /// Without an end
    Total,
}

const COLUMNS: [Column; 7] = [
    Column {
        title: "PRODUCT",
        cell: |budget| output::plain(budget, "product_id"),
    },
    Column {
        title: "WINDOW",
        cell: |budget| output::plain(budget, "window"),
    },
    Column {
        title: "CEILING",
        cell: |budget| output::plain(budget, "ceiling_usd"),
    },
    Column {
        title: "SPENT",
        cell: |budget| output::plain(budget, "spent_usd"),
    },
    Column {
        title: "RESERVED",
        cell: |budget| output::plain(budget, "reserved_usd"),
    },
    Column {
        title: "PROJECTED",
        cell: |budget| output::plain(budget, "projected_usd"),
    },
    Column {
        title: "PAUSED BY",
        cell: |budget| output::plain(budget, "paused_by"),
    },
];

const DAY_COLUMNS: [Column; 2] = [
    Column {
        title: "DAY",
        cell: |day| output::plain(day, "day"),
    },
    Column {
        title: "SPENT",
        cell: |day| output::plain(day, "spent_usd"),
    },
];

pub fn run(session: &Session, action: BudgetsAction) -> Result<Completion, Failure> {
    let client = &session.client;
    match action {
        BudgetsAction::List { paused, list } => {
            let path = match paused {
                Some(paused) => format!("/fleet/budgets?paused={paused}"),
                None => "/fleet/budgets".to_owned(),
            };
            output::items(
                session,
                &pages::collect(client, &path, list.limit)?,
                &COLUMNS,
            )?;
        }
        BudgetsAction::Show { product } => output::item(session, &client.get(&path(&product))?)?,
        BudgetsAction::Set {
            product,
            ceiling,
            window,
        } => {
            // As it was typed: a number would be a float on the way.
            let body = json!({ "ceiling_usd": ceiling, "window": window.word() });
            output::item(session, &client.put(&path(&product), &body, None)?)?;
        }
        BudgetsAction::Pause { product } => {
            let question =
                format!("Pause {product}? Nothing of it is claimed until it is resumed.");
            prompt::confirm(session, &question)?;
            let paused = client.create(&format!("{}/pause", path(&product)), &json!({}))?;
            output::item(session, &paused)?;
        }
        BudgetsAction::Resume { product } => {
            let resumed = client.create(&format!("{}/resume", path(&product)), &json!({}))?;
            output::item(session, &resumed)?;
        }
        BudgetsAction::Spend {
            product,
            amount,
            key,
            job,
            lease_epoch,
        } => {
            let mut body = json!({ "amount_usd": amount, "key": key });
            if let (Some(job), Some(epoch), Value::Object(fields)) = (job, lease_epoch, &mut body) {
                fields.insert("job_id".to_owned(), json!(job));
                fields.insert("lease_epoch".to_owned(), json!(epoch));
            }
            let spent = client.create(&format!("{}/spend", path(&product)), &body)?;
            output::item(session, &spent)?;
        }
        BudgetsAction::History { product, list } => {
            let path = format!("{}/history", path(&product));
            let days = pages::collect(client, &path, list.limit)?;
            output::items(session, &days, &DAY_COLUMNS)?;
        }
    }
    Ok(Completion::Done)
}

impl Window {
    fn word(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Total => "total",
        }
    }
}

fn path(product: &str) -> String {
    format!("/fleet/budgets/{}", escape(product))
}
