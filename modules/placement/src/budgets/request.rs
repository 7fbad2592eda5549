//! What clients say about budgets.

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, bounds};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::calendar::Period;
use super::money::Usd;
use crate::names::snake_case;

/// Of the key of a spending, in characters.
const KEY_CHARS_MAX: usize = 255;

/// A ceiling for a window.
#[derive(Debug, ToSchema)]
pub struct BudgetRequest {
    /// From 0.
    pub ceiling_usd: Usd,
    /// `daily`, `weekly` (from Monday), `monthly` or `total`, in UTC.
    pub window: String,
}

/// Something that was spent.
#[derive(Debug, ToSchema)]
pub struct SpendRequest {
    pub amount_usd: Usd,
    /// Counted once, however often it is sent.
    pub key: String,
    /// The job that spent it; with `lease_epoch` what was reserved for it is used up first.
    pub job_id: Option<Uuid>,
    pub lease_epoch: Option<i64>,
}

/// A [`BudgetRequest`], read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub ceiling_micros: i64,
    pub period: Period,
}

/// A [`SpendRequest`], read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    pub amount_micros: i64,
    pub key: String,
    pub job: Option<(Uuid, i64)>,
}

impl FromInput for Settled {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(snake_case(value), at)?;
        let ceiling: Option<Usd> = fields.take("ceiling_usd");
        let period: Option<Period> = fields.take("window");
        fields.finish();
        Some(Self {
            ceiling_micros: ceiling?.micros,
            period: period?,
        })
    }
}

impl FromInput for Spent {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(snake_case(value), at)?;
        let amount: Option<Usd> = fields.take("amount_usd");
        let key: Option<Key> = fields.take("key");
        let (has_job, has_epoch) = (fields.has("job_id"), fields.has("lease_epoch"));
        if has_job != has_epoch {
            let missing = if has_job { "lease_epoch" } else { "job_id" };
            let mut at = fields.at().field(missing);
            at.refuse(
                "missing-field",
                "`job_id` and `lease_epoch` belong together",
            );
        }
        let job_id: Option<Uuid> = fields.optional("job_id");
        let lease_epoch: Option<u64> =
            fields.optional_by("lease_epoch", bounds::whole("invalid-field", 0..=i64::MAX));
        fields.finish();
        let lease_epoch = lease_epoch.and_then(|epoch| i64::try_from(epoch).ok());
        Some(Self {
            amount_micros: amount?.micros,
            key: key?.0,
            job: job_id.zip(lease_epoch),
        })
    }
}

impl FromInput for Period {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = Self::ALL.map(|period| (period.as_str(), period));
        bounds::word(&value, at, "budget-window-invalid", &words)
    }
}

struct Key(String);

impl FromInput for Key {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        bounds::line("spend-key-invalid", 1..=KEY_CHARS_MAX)(value, at).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use fleetwright_plugin_api::sdk::read;
    use serde_json::json;

    use super::*;

    #[test]
    fn either_spelling_is_read_and_both_at_once_are_not() {
        let expected = Settled {
            ceiling_micros: 1_500_000,
            period: Period::Weekly,
        };
        for body in [
            json!({"ceiling_usd": "1.5", "window": "weekly"}),
            json!({"ceilingUsd": 1.5, "window": "weekly"}),
        ] {
            assert_eq!(read::<Settled>(body).expect("read"), expected);
        }
        let both = json!({"ceiling_usd": 1, "ceilingUsd": 2, "window": "weekly"});
        let problem = read::<Settled>(both).expect_err("refused");
        assert_eq!(
            problem.errors().first().expect("one").pointer,
            "/ceilingUsd"
        );
        for body in [
            json!({"Ceiling_usd": 1, "window": "weekly"}),
            json!({"CeilingUsd": 1, "window": "weekly"}),
        ] {
            assert!(read::<Settled>(body).is_err());
        }
    }

    #[test]
    fn a_spending_names_a_job_with_its_lease_or_none() {
        let id = "0190e0f0-0000-7000-8000-000000000001";
        let cases = [
            (json!({"amount_usd": 1, "key": "a"}), None),
            (
                json!({"amountUsd": "1", "key": "a", "jobId": id, "leaseEpoch": 3}),
                None,
            ),
            (
                json!({"amount_usd": 1, "key": "a", "job_id": id}),
                Some(("/lease_epoch", "missing-field")),
            ),
            (
                json!({"amount_usd": 1, "key": "a", "lease_epoch": 3}),
                Some(("/job_id", "missing-field")),
            ),
            (
                json!({"amount_usd": 1, "key": "a", "job_id": id, "lease_epoch": -1}),
                Some(("/lease_epoch", "invalid-field")),
            ),
            (
                json!({"amount_usd": -1, "key": "a"}),
                Some(("/amount_usd", "money-invalid")),
            ),
            (
                json!({"amount_usd": true, "key": "a"}),
                Some(("/amount_usd", "money-invalid")),
            ),
            (
                json!({"amount_usd": "NaN", "key": "a"}),
                Some(("/amount_usd", "money-invalid")),
            ),
            (
                json!({"amount_usd": null, "key": "a"}),
                Some(("/amount_usd", "missing-field")),
            ),
            (
                json!({"amount_usd": 1, "key": ""}),
                Some(("/key", "spend-key-invalid")),
            ),
            (
                json!({"amount_usd": 1, "key": "a\u{0}b"}),
                Some(("/key", "spend-key-invalid")),
            ),
            (
                json!({"amount_usd": 1, "key": 7}),
                Some(("/key", "invalid-field")),
            ),
            (json!({"amount_usd": 1}), Some(("/key", "missing-field"))),
        ];
        for (body, expected) in cases {
            let read = read::<Spent>(body.clone());
            let told = read.as_ref().err().map(|problem| {
                let first = problem.errors().first().expect("one");
                (first.pointer.as_str(), first.code.as_str())
            });
            assert_eq!(told, expected, "{body}");
        }
    }
}
