//! `fleetwright schedules`: operations that start at times a cron expression names.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::script::ScriptArgs;
use crate::select::selector;
use crate::session::Session;
use crate::{pages, prompt};

#[derive(Subcommand)]
pub enum SchedulesAction {
    /// List schedules
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one schedule
    Show { schedule: String },
    /// Make a schedule that runs a command
    Create(Box<CreateArgs>),
    /// Change a schedule; what is not named stays. It then runs as you
    Update(Box<UpdateArgs>),
    /// Delete a schedule; what it has started goes on
    Delete { schedule: String },
    /// Run it now
    Run { schedule: String },
    /// Its runs, newest first
    Runs {
        schedule: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// The next times an expression fires
    Preview {
        cron: String,
        #[arg(long, value_name = "ZONE")]
        timezone: Option<String>,
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Let it fire
    Enable { schedule: String },
    /// Let it fire no more until it is enabled
    Disable { schedule: String },
}

#[derive(Args)]
pub struct CreateArgs {
    pub name: String,
    /// Five fields as in crontab(5), or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(long)]
    pub cron: String,
    /// Which hosts, looked for at each run
    #[arg(long, value_name = "EXPR")]
    pub select: String,
    /// Do not let it fire yet
    #[arg(long)]
    pub disabled: bool,
    #[command(flatten)]
    pub fields: ScheduleFields,
    #[command(flatten)]
    pub script: ScriptArgs,
    /// The command, after `--`; one word is taken as a script
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Args)]
pub struct UpdateArgs {
    pub schedule: String,
    #[arg(long)]
    pub name: Option<String>,
    #[arg(long)]
    pub cron: Option<String>,
    #[arg(long, value_name = "EXPR")]
    pub select: Option<String>,
    #[command(flatten)]
    pub fields: ScheduleFields,
}

/// What both may say.
#[derive(Args)]
pub struct ScheduleFields {
    /// The time zone of the expression [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// bulk or rolling [default: bulk]
    #[arg(long)]
    pub kind: Option<String>,
    /// While an earlier run goes on: forbid, allow or replace [default: forbid]
    #[arg(long, value_name = "POLICY")]
    pub overlap: Option<String>,
    /// Of runs that were missed: fire_once or skip [default: fire_once]
    #[arg(long, value_name = "POLICY")]
    pub misfire: Option<String>,
    /// Spread each run over so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub jitter: Option<u64>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub starts_at: Option<String>,
    /// Not from this time on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub ends_at: Option<String>,
    /// Another field of what is started, such as batch_size=10
    #[arg(long = "option", value_name = "FIELD=VALUE")]
    pub options: Vec<String>,
}

/// What a replacement keeps of what it is not told.
const KEPT: [&str; 14] = [
    "name",
    "cron",
    "timezone",
    "enabled",
    "kind",
    "operation_type",
    "selector",
    "parameters",
    "options",
    "overlap_policy",
    "misfire_policy",
    "jitter_seconds",
    "starts_at",
    "ends_at",
];

const COLUMNS: [Column; 6] = [
    Column {
        title: "NAME",
        cell: |schedule| output::plain(schedule, "name"),
    },
    Column {
        title: "CRON",
        cell: |schedule| output::plain(schedule, "cron"),
    },
    Column {
        title: "ZONE",
        cell: |schedule| output::plain(schedule, "timezone"),
    },
    Column {
        title: "NEXT",
        cell: |schedule| output::plain(schedule, "next_run_at"),
    },
    Column {
        title: "LAST",
        cell: |schedule| output::status(schedule, "last_status"),
    },
    Column {
        title: "ID",
        cell: |schedule| output::plain(schedule, "id"),
    },
];

const RUN_COLUMNS: [Column; 5] = [
    Column {
        title: "FOR",
        cell: |run| output::plain(run, "scheduled_for"),
    },
    Column {
        title: "CAUSE",
        cell: |run| output::plain(run, "cause"),
    },
    Column {
        title: "STATUS",
        cell: |run| output::status(run, "status"),
    },
    Column {
        title: "REASON",
        cell: |run| output::plain(run, "reason"),
    },
    Column {
        title: "OPERATION",
        // A run that launched nothing has none.
        cell: |run| output::plain(run.get("operation").unwrap_or(&Value::Null), "id"),
    },
];

pub fn run(session: &Session, action: SchedulesAction) -> Result<Completion, Failure> {
    match action {
        SchedulesAction::List { list } => {
            let schedules = pages::collect(&session.client, "/fleet/schedules", list.limit)?;
            output::items(session, &schedules, &COLUMNS)?;
        }
        SchedulesAction::Show { schedule } => output::item(session, &find(session, &schedule)?)?,
        SchedulesAction::Create(args) => {
            let made = session
                .client
                .create("/fleet/schedules", &new_body(&args)?)?;
            output::item(session, &made)?;
        }
        SchedulesAction::Update(args) => {
            let known = find(session, &args.schedule)?;
            let mut fields = kept(&known);
            let named = [("name", &args.name), ("cron", &args.cron)];
            lay_over(&mut fields, &named);
            if let Some(expression) = &args.select {
                fields.insert("selector".to_owned(), selector(expression));
            }
            args.fields.lay_over(&mut fields)?;
            replace(session, &known, fields)?;
        }
        SchedulesAction::Delete { schedule } => {
            let path = path_of(session, &schedule)?;
            prompt::confirm(session, &format!("Delete schedule {schedule}?"))?;
            session.client.delete(&path)?;
        }
        SchedulesAction::Run { schedule } => {
            let path = path_of(session, &schedule)?;
            prompt::confirm(session, &format!("Run {schedule} now?"))?;
            output::item(
                session,
                &session.client.create(&format!("{path}/run"), &json!({}))?,
            )?;
        }
        SchedulesAction::Runs { schedule, list } => {
            let path = format!("{}/runs", path_of(session, &schedule)?);
            let runs = pages::collect(&session.client, &path, list.limit)?;
            output::items(session, &runs, &RUN_COLUMNS)?;
        }
        SchedulesAction::Preview {
            cron,
            timezone,
            count,
        } => {
            let body = json!({ "cron": cron, "timezone": timezone, "count": count });
            let preview = session.client.post("/fleet/schedules/preview", &body)?;
            output::item(session, &preview)?;
        }
        SchedulesAction::Enable { schedule } => switch(session, &schedule, true)?,
        SchedulesAction::Disable { schedule } => switch(session, &schedule, false)?,
    }
    Ok(Completion::Done)
}

impl ScheduleFields {
    fn lay_over(&self, fields: &mut Map<String, Value>) -> Result<(), Failure> {
        let named = [
            ("timezone", &self.timezone),
            ("kind", &self.kind),
            ("overlap_policy", &self.overlap),
            ("misfire_policy", &self.misfire),
            ("starts_at", &self.starts_at),
            ("ends_at", &self.ends_at),
        ];
        lay_over(fields, &named);
        if let Some(seconds) = self.jitter {
            fields.insert("jitter_seconds".to_owned(), json!(seconds));
        }
        let mut options = match fields.remove("options") {
            Some(Value::Object(options)) => options,
            Some(_) | None => Map::new(),
        };
        for option in &self.options {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| Failure::Input(format!("{option}: an option is FIELD=VALUE")))?;
            // What is no JSON is a text.
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            options.insert(name.to_owned(), value);
        }
        fields.insert("options".to_owned(), Value::Object(options));
        Ok(())
    }
}

fn lay_over(fields: &mut Map<String, Value>, named: &[(&str, &Option<String>)]) {
    for (name, value) in named {
        if let Some(value) = value {
            fields.insert((*name).to_owned(), json!(value));
        }
    }
}

/// What a script's arguments say beside type and parameters goes to the operation when it is started.
fn new_body(args: &CreateArgs) -> Result<Value, Failure> {
    let mut options = args.script.request(&args.command)?;
    let mut fields = Map::new();
    for own in ["operation_type", "parameters"] {
        if let Some(value) = options.remove(own) {
            fields.insert(own.to_owned(), value);
        }
    }
    fields.insert("options".to_owned(), Value::Object(options));
    fields.insert("name".to_owned(), json!(args.name));
    fields.insert("cron".to_owned(), json!(args.cron));
    fields.insert("selector".to_owned(), selector(&args.select));
    fields.insert("enabled".to_owned(), json!(!args.disabled));
    args.fields.lay_over(&mut fields)?;
    Ok(Value::Object(fields))
}

fn switch(session: &Session, schedule: &str, enabled: bool) -> Result<(), Failure> {
    let known = find(session, schedule)?;
    let mut fields = kept(&known);
    fields.insert("enabled".to_owned(), json!(enabled));
    replace(session, &known, fields)
}

/// A PUT replaces the whole schedule, guarded by the revision it was read at.
fn replace(session: &Session, known: &Value, fields: Map<String, Value>) -> Result<(), Failure> {
    let path = format!("/fleet/schedules/{}", output::field(known, "id"));
    let revision = format!("\"{}\"", output::field(known, "revision"));
    let body = Value::Object(fields);
    let changed = session.client.put(&path, &body, Some(&revision))?;
    output::item(session, &changed)
}

fn kept(known: &Value) -> Map<String, Value> {
    let fields = KEPT.iter().filter_map(|name| {
        let value = known.get(name)?;
        Some(((*name).to_owned(), value.clone()))
    });
    fields.collect()
}

fn path_of(session: &Session, schedule: &str) -> Result<String, Failure> {
    let known = find(session, schedule)?;
    Ok(format!("/fleet/schedules/{}", output::field(&known, "id")))
}

/// By id or by name.
fn find(session: &Session, schedule: &str) -> Result<Value, Failure> {
    let id = if uuid::Uuid::try_parse(schedule).is_ok() {
        schedule.to_owned()
    } else {
        let path = format!("/fleet/schedules?name={}", escape(schedule));
        let named = pages::collect(&session.client, &path, 1)?;
        let named = named
            .first()
            .ok_or_else(|| Failure::Input(format!("no schedule is named {schedule}")))?;
        output::field(named, "id")
    };
    Ok(session
        .client
        .get(&format!("/fleet/schedules/{}", escape(&id)))?)
}
