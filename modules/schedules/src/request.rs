//! Reads request bodies: every violation with its place, not the first. Pure. What a schedule launches is only known to be
//! of the right shape here: the module that launches it reads it.

use fleetwright_operations::fields::{Fields, MISTYPED};
use fleetwright_protocol::Violation;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::cron::Cron;
use crate::decide::{Kind, MisfirePolicy, OverlapPolicy, Timing};
use crate::store::Work;
use crate::timetable::{Timetable, Zone};

/// As groups: one line of a list.
const NAME_CHARS_MAX: usize = 120;
/// A day: what spreads a daily schedule over the whole of it.
const JITTER_SECONDS_MAX: i64 = 86_400;
/// Bytes of selector, parameters and options together: one row is read with one read of 4 MiB.
const WORK_BYTES_MAX: usize = 3 * 1024 * 1024;
const PREVIEW_COUNT_DEFAULT: u64 = 10;
/// Two pages of a screen; each time costs a search of the calendar.
const PREVIEW_COUNT_MAX: i64 = 100;
/// What a schedule says itself, or what only a person who waits for the answer can mean.
const OPTIONS_RESERVED: [&str; 6] = [
    "operation_type",
    "selector",
    "parameters",
    "plan_only",
    "expected_digest",
    "expected_count",
];

/// The body of `POST /fleet/schedules` and `PUT /fleet/schedules/{id}`. What is left out has its default, also when a
/// schedule is replaced.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `schedule` reads it, to report every violation"
)]
pub struct ScheduleRequest {
    /// Unique in any ASCII case; 1 to 120 characters, no control characters.
    name: String,
    /// Five fields as in crontab(5), or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "30 2 * * mon-fri")]
    cron: String,
    /// Of the IANA database. Default `UTC`.
    timezone: Option<String>,
    /// Default true.
    enabled: Option<bool>,
    /// `bulk` (default) or `rolling`.
    kind: Option<String>,
    operation_type: String,
    /// Resolved on each fire. Groups are kept by id.
    #[schema(value_type = Object)]
    selector: Value,
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// The other fields of the request that is launched: `timeout_seconds`, `batch_size` and the like.
    #[schema(value_type = Option<Object>)]
    options: Option<Value>,
    /// While an earlier run goes on: `forbid` (default), `allow` or `replace`.
    overlap_policy: Option<String>,
    /// Of fires more than a minute late: `fire_once` (default) or `skip`.
    misfire_policy: Option<String>,
    /// Each fire is late by a fixed time below this, and below the time to the next. 0 to 86400, default 0.
    jitter_seconds: Option<u64>,
    /// Inclusive.
    #[schema(format = DateTime)]
    starts_at: Option<String>,
    /// Exclusive.
    #[schema(format = DateTime)]
    ends_at: Option<String>,
}

/// The body of `POST /fleet/schedules/preview`.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `preview` reads it, to report every violation"
)]
pub struct PreviewRequest {
    cron: String,
    /// Default `UTC`.
    timezone: Option<String>,
    /// 1 to 100, default 10.
    count: Option<u64>,
}

/// A schedule as a client asks for it, valid but for what it launches.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub name: String,
    pub times: Times,
    pub enabled: bool,
    pub kind: Kind,
    pub operation_type: String,
    pub work: Work,
    pub overlap: OverlapPolicy,
    pub misfire: MisfirePolicy,
}

/// When a schedule fires, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    pub cron: String,
    pub timezone: String,
    pub jitter_seconds: u64,
    pub starts_at_us: Option<i64>,
    pub ends_at_us: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Preview {
    pub timetable: Timetable,
    pub cron: String,
    /// As the database spells it.
    pub timezone: String,
    pub count: u64,
}

impl Times {
    /// None if the expression or the zone cannot be read, which a stored one can.
    pub fn timing(&self, schedule_id: Uuid) -> Option<Timing> {
        let cron = Cron::parse(&self.cron).ok()?;
        Some(Timing {
            schedule_id,
            timetable: Timetable::new(&cron, Zone::named(&self.timezone)?),
            jitter_seconds: self.jitter_seconds,
            starts_at_us: self.starts_at_us,
            ends_at_us: self.ends_at_us,
        })
    }
}

/// Reads a schedule.
pub fn schedule(body: &Value, now_us: i64) -> Result<Draft, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let name = name(&mut fields);
    let timetable = timetable(&mut fields, now_us);
    let (starts_at_us, ends_at_us) = bounds(&mut fields);
    let jitter = fields.number(
        "jitter_seconds",
        "schedule-jitter-invalid",
        0..=JITTER_SECONDS_MAX,
    );
    let enabled = fields.value("enabled").is_none() || fields.flag("enabled");
    let kinds = Kind::ALL.map(Kind::as_str);
    let kind = fields.word("kind", "schedule-kind-invalid", &kinds);
    let overlaps = OverlapPolicy::ALL.map(OverlapPolicy::as_str);
    let overlap = fields.word(
        "overlap_policy",
        "schedule-overlap-policy-invalid",
        &overlaps,
    );
    let misfires = MisfirePolicy::ALL.map(MisfirePolicy::as_str);
    let misfire = fields.word(
        "misfire_policy",
        "schedule-misfire-policy-invalid",
        &misfires,
    );
    let operation_type = fields.required_text("operation_type");
    let work = work(&mut fields);
    fields.finish()?;
    match (name, timetable, operation_type) {
        (Some(name), Some((_, times)), Some(operation_type)) => Ok(Draft {
            name,
            times: Times {
                jitter_seconds: jitter.unwrap_or(0),
                starts_at_us,
                ends_at_us,
                ..times
            },
            enabled,
            kind: kind.and_then(Kind::from_name).unwrap_or(Kind::Bulk),
            operation_type: operation_type.to_owned(),
            work,
            overlap: overlap
                .and_then(OverlapPolicy::from_name)
                .unwrap_or(OverlapPolicy::Forbid),
            misfire: misfire
                .and_then(MisfirePolicy::from_name)
                .unwrap_or(MisfirePolicy::FireOnce),
        }),
        // Whatever is missing was reported above, so `finish` has returned.
        _incomplete => Err(Vec::new()),
    }
}

/// Reads what a preview is of.
pub fn preview(body: &Value, now_us: i64) -> Result<Preview, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let timetable = timetable(&mut fields, now_us);
    let count = fields.number("count", "schedule-count-invalid", 1..=PREVIEW_COUNT_MAX);
    fields.finish()?;
    let (timetable, times) = timetable.ok_or_else(Vec::new)?;
    Ok(Preview {
        timetable,
        cron: times.cron,
        timezone: times.timezone,
        count: count.unwrap_or(PREVIEW_COUNT_DEFAULT),
    })
}

/// The body that the launching module is given.
pub fn launch_body(operation_type: &str, work: &Work) -> Value {
    let mut body = work.options.as_object().cloned().unwrap_or_default();
    body.insert("operation_type".to_owned(), operation_type.into());
    body.insert("selector".to_owned(), work.selector.clone());
    body.insert("parameters".to_owned(), work.parameters.clone());
    Value::Object(body)
}

/// Where a violation of the launched body is in the schedule's.
pub fn placed(violation: Violation) -> Violation {
    let own = ["/operation_type", "/selector", "/parameters"];
    let is_own = own.iter().any(|place| {
        violation
            .pointer
            .strip_prefix(place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if is_own {
        violation
    } else {
        violation.under("/options")
    }
}

fn name(fields: &mut Fields<'_>) -> Option<String> {
    const CODE: &str = "schedule-name-invalid";
    let name = fields.required_text("name")?;
    let characters = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&characters)
        || name.trim().is_empty()
        || name.chars().any(char::is_control)
    {
        let detail = format!("must be 1 to {NAME_CHARS_MAX} printable characters");
        fields.refuse("name", CODE, &detail);
    }
    Some(name.to_owned())
}

/// The expression in its zone. One that never fires is refused.
fn timetable(fields: &mut Fields<'_>, now_us: i64) -> Option<(Timetable, Times)> {
    const CODE: &str = "cron-invalid";
    let text = fields.required_text("cron");
    let cron = text.and_then(|text| match Cron::parse(text) {
        Ok(cron) => Some(cron),
        Err(error) => {
            fields.refuse("cron", CODE, &error.to_string());
            None
        }
    });
    let zone = zone(fields);
    let (text, cron, zone) = (text?, cron?, zone?);
    let timezone = zone.name().to_owned();
    let timetable = Timetable::new(&cron, zone);
    if timetable.next_after(now_us).is_none() {
        let detail = "fields 3 to 5 (day of month, month, day of week): no such day comes within eight years";
        fields.refuse("cron", CODE, detail);
    }
    let times = Times {
        cron: text.to_owned(),
        timezone,
        jitter_seconds: 0,
        starts_at_us: None,
        ends_at_us: None,
    };
    Some((timetable, times))
}

fn zone(fields: &mut Fields<'_>) -> Option<Zone> {
    let name = fields.text("timezone");
    if name.is_none() && fields.has("timezone") {
        return None;
    }
    let zone = Zone::named(name.unwrap_or("UTC"));
    if zone.is_none() {
        let detail = "must be the name of a time zone, such as Europe/Berlin";
        fields.refuse("timezone", "schedule-timezone-unknown", detail);
    }
    zone
}

fn bounds(fields: &mut Fields<'_>) -> (Option<i64>, Option<i64>) {
    const CODE: &str = "schedule-bounds-invalid";
    let mut time = |name: &'static str| {
        let text = fields.text(name)?;
        let at = text.parse::<jiff::Timestamp>();
        if at.is_err() {
            fields.refuse(name, CODE, "must be a time as in RFC 3339");
        }
        at.ok().map(jiff::Timestamp::as_microsecond)
    };
    let (starts_at_us, ends_at_us) = (time("starts_at"), time("ends_at"));
    if starts_at_us
        .zip(ends_at_us)
        .is_some_and(|(starts_us, ends_us)| ends_us <= starts_us)
    {
        fields.refuse("ends_at", CODE, "ends before it starts");
    }
    (starts_at_us, ends_at_us)
}

fn work(fields: &mut Fields<'_>) -> Work {
    let mut object = |name: &'static str| {
        let Some(value) = fields.value(name) else {
            return Value::Object(Map::new());
        };
        if !value.is_object() {
            fields.refuse(name, MISTYPED, "must be an object");
        }
        value.clone()
    };
    let work = Work {
        selector: object("selector"),
        parameters: object("parameters"),
        options: object("options"),
    };
    if !fields.has("selector") {
        fields.missing("selector");
    }
    for name in OPTIONS_RESERVED {
        if work.options.get(name).is_some() {
            let detail = "is not an option of a schedule";
            fields.refuse(&format!("options/{name}"), "unknown-field", detail);
        }
    }
    let bytes: usize = [&work.selector, &work.parameters, &work.options]
        .iter()
        .map(|value| value.to_string().len())
        .sum();
    if bytes > WORK_BYTES_MAX {
        let detail = format!(
            "with parameters and options it has {bytes} bytes, at most {WORK_BYTES_MAX} are kept; name a group"
        );
        fields.refuse("selector", "schedule-too-large", &detail);
    }
    work
}
