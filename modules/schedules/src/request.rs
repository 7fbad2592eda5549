//! Request bodies, as they are read and documented: every violation with its place, not the first. Pure. What a schedule
//! launches is only known to be of the right shape here: the module that launches it reads it.

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, Problem, bounds, read_with};
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
/// Of an expression that cannot be read, and of one that never fires.
const CRON_INVALID: &str = "cron-invalid";
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
pub struct ScheduleRequest {
    /// Unique in any ASCII case; 1 to 120 characters, no control characters.
    #[schema(value_type = String)]
    name: Name,
    /// Five fields as in crontab(5), or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(value_type = String, example = "30 2 * * mon-fri")]
    cron: Expression,
    /// Of the IANA database. Default `UTC`.
    #[schema(value_type = Option<String>)]
    timezone: Option<Zone>,
    /// Default true.
    enabled: Option<bool>,
    /// `bulk` (default) or `rolling`.
    #[schema(value_type = Option<String>)]
    kind: Option<Kind>,
    operation_type: String,
    /// Resolved on each fire. Groups are kept by id.
    #[schema(value_type = Object)]
    selector: Map<String, Value>,
    #[schema(value_type = Option<Object>)]
    parameters: Option<Map<String, Value>>,
    /// The other fields of the request that is launched: `timeout_seconds`, `batch_size` and the like.
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// While an earlier run goes on: `forbid` (default), `allow` or `replace`.
    #[schema(value_type = Option<String>)]
    overlap_policy: Option<OverlapPolicy>,
    /// Of fires more than a minute late: `fire_once` (default) or `skip`.
    #[schema(value_type = Option<String>)]
    misfire_policy: Option<MisfirePolicy>,
    /// Each fire is late by a fixed time below this, and below the time to the next. 0 to 86400, default 0.
    jitter_seconds: Option<u64>,
    /// Inclusive.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<jiff::Timestamp>,
    /// Exclusive.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<jiff::Timestamp>,
}

/// The body of `POST /fleet/schedules/preview`.
#[derive(ToSchema)]
pub struct PreviewRequest {
    #[schema(value_type = String)]
    cron: Expression,
    /// Default `UTC`.
    #[schema(value_type = Option<String>)]
    timezone: Option<Zone>,
    /// 1 to 100, default 10.
    count: Option<u64>,
}

struct Name(String);

/// An expression as written, and what it says.
struct Expression {
    text: String,
    cron: Cron,
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
pub fn schedule(body: Value, now_us: i64) -> Result<Draft, Problem> {
    let request = read_with(body, |value, at| ScheduleRequest::read(value, at, now_us))?;
    Ok(request.draft())
}

/// Reads what a preview is of.
pub fn preview(body: Value, now_us: i64) -> Result<Preview, Problem> {
    let request = read_with(body, |value, at| PreviewRequest::read(value, at, now_us))?;
    let PreviewRequest {
        cron,
        timezone,
        count,
    } = request;
    let zone = timezone.unwrap_or_default();
    Ok(Preview {
        timezone: zone.name().to_owned(),
        timetable: Timetable::new(&cron.cron, zone),
        cron: cron.text,
        count: count.unwrap_or(PREVIEW_COUNT_DEFAULT),
    })
}

impl ScheduleRequest {
    fn read(value: Value, at: &mut At<'_>, now_us: i64) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let name = fields.take("name");
        let (cron, timezone) = when(&mut fields, now_us);
        let (starts_at, ends_at) = first_and_last(&mut fields);
        let jitter = bounds::whole("schedule-jitter-invalid", 0..=JITTER_SECONDS_MAX);
        let jitter_seconds = fields.optional_by("jitter_seconds", jitter);
        let enabled = fields.optional("enabled");
        let kind = fields.optional("kind");
        let overlap_policy = fields.optional("overlap_policy");
        let misfire_policy = fields.optional("misfire_policy");
        let operation_type = fields.take("operation_type");
        let selector = fields.take("selector");
        let parameters = fields.optional("parameters");
        let options = fields.optional("options");
        check_work(&mut fields, [&selector, &parameters, &options]);
        fields.finish();
        Some(Self {
            name: name?,
            cron: cron?,
            timezone: timezone?,
            enabled,
            kind,
            operation_type: operation_type?,
            selector: selector?,
            parameters,
            options,
            overlap_policy,
            misfire_policy,
            jitter_seconds,
            starts_at,
            ends_at,
        })
    }

    fn draft(self) -> Draft {
        let micros = |time: Option<jiff::Timestamp>| time.map(jiff::Timestamp::as_microsecond);
        Draft {
            name: self.name.0,
            times: Times {
                cron: self.cron.text,
                timezone: self.timezone.unwrap_or_default().name().to_owned(),
                jitter_seconds: self.jitter_seconds.unwrap_or(0),
                starts_at_us: micros(self.starts_at),
                ends_at_us: micros(self.ends_at),
            },
            enabled: self.enabled.unwrap_or(true),
            kind: self.kind.unwrap_or(Kind::Bulk),
            operation_type: self.operation_type,
            work: Work {
                selector: Value::Object(self.selector),
                parameters: Value::Object(self.parameters.unwrap_or_default()),
                options: Value::Object(self.options.unwrap_or_default()),
            },
            overlap: self.overlap_policy.unwrap_or(OverlapPolicy::Forbid),
            misfire: self.misfire_policy.unwrap_or(MisfirePolicy::FireOnce),
        }
    }
}

impl PreviewRequest {
    fn read(value: Value, at: &mut At<'_>, now_us: i64) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let (cron, timezone) = when(&mut fields, now_us);
        let count = bounds::whole("schedule-count-invalid", 1..=PREVIEW_COUNT_MAX);
        let count = fields.optional_by("count", count);
        fields.finish();
        Some(Self {
            cron: cron?,
            timezone: timezone?,
            count,
        })
    }
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

/// The expression, and its zone unless that was left out. One that never fires is refused.
fn when(fields: &mut Fields<'_, '_>, now_us: i64) -> (Option<Expression>, Option<Option<Zone>>) {
    let cron: Option<Expression> = fields.take("cron");
    let timezone: Option<Option<Zone>> = fields.take("timezone");
    if let (Some(expression), Some(zone)) = (&cron, &timezone) {
        let zone = zone.clone().unwrap_or_default();
        if Timetable::new(&expression.cron, zone)
            .next_after(now_us)
            .is_none()
        {
            let detail = "fields 3 to 5 (day of month, month, day of week): no such day comes within eight years";
            fields.at().field("cron").refuse(CRON_INVALID, detail);
        }
    }
    (cron, timezone)
}

fn first_and_last(
    fields: &mut Fields<'_, '_>,
) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>) {
    const CODE: &str = "schedule-bounds-invalid";
    let time = |value: Value, at: &mut At<'_>| {
        let time = String::from_input(value, at)?.parse().ok();
        if time.is_none() {
            at.refuse(CODE, "must be a time as in RFC 3339");
        }
        time
    };
    let starts_at: Option<jiff::Timestamp> = fields.optional_by("starts_at", time);
    let ends_at: Option<jiff::Timestamp> = fields.optional_by("ends_at", time);
    if let (Some(starts_at), Some(ends_at)) = (starts_at, ends_at)
        && ends_at.as_microsecond() <= starts_at.as_microsecond()
    {
        let detail = "ends before it starts";
        fields.at().field("ends_at").refuse(CODE, detail);
    }
    (starts_at, ends_at)
}

/// Holds selector, parameters and options, as far as they are there, against what a schedule may say of them.
fn check_work(fields: &mut Fields<'_, '_>, work: [&Option<Map<String, Value>>; 3]) {
    let [_, _, options] = work;
    for name in OPTIONS_RESERVED {
        if options
            .as_ref()
            .is_some_and(|options| options.contains_key(name))
        {
            let detail = "is not an option of a schedule";
            let at = fields.at();
            at.field("options")
                .field(name)
                .refuse("unknown-field", detail);
        }
    }
    // What is left out is kept as an empty object.
    let empty = Map::new();
    let kept = |part: &Option<Map<String, Value>>| {
        let text = serde_json::to_string(part.as_ref().unwrap_or(&empty));
        text.map_or(0, |text| text.len())
    };
    let bytes: usize = work.into_iter().map(kept).sum();
    if bytes > WORK_BYTES_MAX {
        let detail = format_args!(
            "with parameters and options it has {bytes} bytes, at most {WORK_BYTES_MAX} are kept; name a group"
        );
        fields
            .at()
            .field("selector")
            .refuse("schedule-too-large", detail);
    }
}

impl FromInput for Name {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        const CODE: &str = "schedule-name-invalid";
        let name = bounds::line(CODE, 1..=NAME_CHARS_MAX)(value, at)?;
        if !name.is_empty() && name.trim().is_empty() {
            at.refuse(CODE, "must not be blank");
        }
        Some(Self(name))
    }
}

impl FromInput for Expression {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let text = String::from_input(value, at)?;
        match Cron::parse(&text) {
            Ok(cron) => Some(Self { text, cron }),
            Err(error) => {
                at.refuse(CRON_INVALID, error);
                None
            }
        }
    }
}

impl FromInput for Zone {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let zone = Self::named(&String::from_input(value, at)?);
        if zone.is_none() {
            let detail = "must be the name of a time zone, such as Europe/Berlin";
            at.refuse("schedule-timezone-unknown", detail);
        }
        zone
    }
}

impl FromInput for Kind {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = Self::ALL.map(|kind| (kind.as_str(), kind));
        bounds::word(&value, at, "schedule-kind-invalid", &words)
    }
}

impl FromInput for OverlapPolicy {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = Self::ALL.map(|policy| (policy.as_str(), policy));
        bounds::word(&value, at, "schedule-overlap-policy-invalid", &words)
    }
}

impl FromInput for MisfirePolicy {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = Self::ALL.map(|policy| (policy.as_str(), policy));
        bounds::word(&value, at, "schedule-misfire-policy-invalid", &words)
    }
}
