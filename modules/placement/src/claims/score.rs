//! How much a job is worth to a factory: pure and exact. Weights are thousandths, ages microseconds, and a score is kept as
//! the whole number of their products, so that no rounding decides between two jobs.

use serde_json::{Map, Number, Value};

use crate::jobs::job::Bucket;

/// Microseconds of a minute.
const MINUTE_US: i128 = 60_000_000;
/// Thousandths of a weight: what the API takes has at most three places.
const THOUSAND: i64 = 1_000;
/// A million: far above any sensible weight, and far below what overflows with an age of centuries.
pub const WEIGHT_MILLIS_MAX: i64 = 1_000_000 * THOUSAND;

/// The weights of a score's four terms, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// For each minute since the job was submitted; never negative, else queues were not first in, first out.
    pub age: i64,
    pub priority: i64,
    pub retries: i64,
    pub capabilities: i64,
}

/// The weights that somebody set; the others come from elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SomeWeights {
    pub age: Option<i64>,
    pub priority: Option<i64>,
    pub retries: Option<i64>,
    pub capabilities: Option<i64>,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            age: THOUSAND,
            priority: 10 * THOUSAND,
            retries: -2 * THOUSAND,
            capabilities: 5 * THOUSAND,
        }
    }
}

impl SomeWeights {
    /// To be ordered by.
    pub fn key(self) -> [Option<i64>; 4] {
        [self.age, self.priority, self.retries, self.capabilities]
    }

    /// Field by field: these, else those of `below`.
    pub fn or(self, below: Weights) -> Weights {
        Weights {
            age: self.age.unwrap_or(below.age),
            priority: self.priority.unwrap_or(below.priority),
            retries: self.retries.unwrap_or(below.retries),
            capabilities: self.capabilities.unwrap_or(below.capabilities),
        }
    }

    /// As they are stored and shown: numbers, only those that are set.
    pub fn to_json(self) -> Value {
        let named = [
            ("age", self.age),
            ("priority", self.priority),
            ("retries", self.retries),
            ("capabilities", self.capabilities),
        ];
        let set = named
            .into_iter()
            .filter_map(|(name, millis)| Some((name.to_owned(), number_of(millis?))));
        Value::Object(set.collect::<Map<_, _>>())
    }

    /// Read from what [`to_json`](Self::to_json) made.
    pub fn of_json(value: &Value) -> Self {
        let one = |name: &str| value.get(name)?.as_number().and_then(millis_of);
        Self {
            age: one("age"),
            priority: one("priority"),
            retries: one("retries"),
            capabilities: one("capabilities"),
        }
    }
}

impl Weights {
    /// All four, as numbers.
    pub fn to_json(self) -> Value {
        SomeWeights {
            age: Some(self.age),
            priority: Some(self.priority),
            retries: Some(self.retries),
            capabilities: Some(self.capabilities),
        }
        .to_json()
    }
}

/// Each term of a score, in thousandths of a sixty-millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    pub age: i128,
    pub priority: i128,
    pub retries: i128,
    pub capabilities: i128,
}

impl Score {
    /// `w.age × age_minutes + w.priority × priority_order + w.retries × attempts + w.capabilities × capability_bonus`, exact.
    /// The bonus is 1 where the job requires capabilities: a factory that lacks one is never asked about.
    pub fn of(weights: Weights, bucket: &Bucket, created_at_us: i64, now_us: i64) -> Self {
        let age_us = i128::from(now_us) - i128::from(created_at_us);
        let bonus = i128::from(!bucket.capabilities.is_empty());
        Self {
            age: i128::from(weights.age) * age_us.max(0),
            priority: i128::from(weights.priority)
                * i128::from(bucket.priority.order())
                * MINUTE_US,
            retries: i128::from(weights.retries) * i128::from(bucket.attempts) * MINUTE_US,
            capabilities: i128::from(weights.capabilities) * bonus * MINUTE_US,
        }
    }

    /// What is compared.
    pub fn total(self) -> i128 {
        self.age + self.priority + self.retries + self.capabilities
    }

    /// For people: the terms and their sum, rounded to thousandths.
    pub fn to_json(self) -> Value {
        let shown =
            |exact: i128| i64::try_from(exact.div_euclid(MINUTE_US)).map_or(Value::Null, number_of);
        serde_json::json!({
            "age": shown(self.age),
            "priority": shown(self.priority),
            "retries": shown(self.retries),
            "capabilities": shown(self.capabilities),
            "total": shown(self.total()),
        })
    }
}

/// A number with at most three places in thousandths, if it is one within the limit.
pub fn millis_of(number: &Number) -> Option<i64> {
    let text = number.to_string();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let places = places.trim_end_matches('0');
    let is_decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if places.len() > 3 || whole.is_empty() || !is_decimal(whole) || !is_decimal(places) {
        return None;
    }
    let thousandths: i64 = format!("{places:0<3}").parse().ok()?;
    let millis = whole
        .parse::<i64>()
        .ok()?
        .checked_mul(THOUSAND)?
        .checked_add(thousandths)?;
    let millis = if negative { -millis } else { millis };
    (millis.abs() <= WEIGHT_MILLIS_MAX).then_some(millis)
}

fn number_of(millis: i64) -> Value {
    if millis % THOUSAND == 0 {
        return Value::from(millis / THOUSAND);
    }
    let sign = if millis < 0 { "-" } else { "" };
    let (whole, places) = (millis.unsigned_abs() / 1_000, millis.unsigned_abs() % 1_000);
    // A decimal text of this form is always a number.
    serde_json::from_str(&format!("{sign}{whole}.{places:03}")).unwrap_or_default()
}
