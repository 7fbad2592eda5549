//! What becomes of a budget: pure decisions on what was read. The counters themselves are moved by the database's own
//! arithmetic (`store`), which does what stands here to whatever they are by then.

use super::calendar::{Period, Window};

/// One budget, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub product_id: String,
    pub ceiling_micros: i64,
    pub period: Period,
    /// The one that is counted.
    pub window: Window,
    /// In this window.
    pub spent_micros: i64,
    /// Set aside for jobs under way, whenever that was.
    pub reserved_micros: i64,
    pub pause: Option<Pause>,
    pub created_at_us: i64,
    pub updated_at_us: i64,
    /// Rises with whatever people see change but the counters.
    pub revision: i64,
}

/// Nothing of the product is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub by: PausedBy,
    pub at_us: i64,
    /// Of the person; none for one that came by itself.
    pub by_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedBy {
    /// A person: stays until one resumes it.
    Manual,
    /// The ceiling was reached: lifted by a new window or a higher ceiling.
    Ceiling,
}

impl PausedBy {
    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Ceiling => "ceiling",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Manual, Self::Ceiling]
            .into_iter()
            .find(|one| one.as_str() == name)
    }
}

/// The sums would be more than can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sum would be too large")]
pub struct Overflow;

/// Why nothing can be set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("the budget is paused")]
    Paused,
    #[error("it would pass the ceiling")]
    Ceiling,
}

/// It would be paused again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ceiling is reached")]
pub struct OverCeiling;

impl Budget {
    fn is_at_ceiling(&self) -> bool {
        self.spent_micros >= self.ceiling_micros
    }

    /// After a window has passed: nothing is spent in the new one, an automatic pause is over, a manual one is not. None
    /// while the window goes on; a clock that was set back never brings an earlier one.
    #[must_use]
    pub fn rolled_over(&self, now_us: i64, is_enforced: bool) -> Option<Self> {
        let end_us = self.window.ends_at_us?;
        if now_us < end_us {
            return None;
        }
        let fresh = Self {
            window: self.period.window(now_us, self.created_at_us),
            spent_micros: 0,
            updated_at_us: now_us,
            revision: self.revision + 1,
            ..self.clone()
        };
        Some(fresh.judged(now_us, is_enforced))
    }

    /// After `amount_micros` were spent, of which a reservation has `rest_micros` left: what is spent, and how much of the
    /// reservation that consumes. Spending may pass the ceiling.
    pub fn accrued(
        &self,
        amount_micros: i64,
        rest_micros: i64,
        is_enforced: bool,
        now_us: i64,
    ) -> Result<(Self, i64), Overflow> {
        let consumed = amount_micros.min(rest_micros);
        let spent = self.spent_micros.checked_add(amount_micros);
        let after = Self {
            spent_micros: spent.ok_or(Overflow)?,
            reserved_micros: self.reserved_micros - consumed,
            updated_at_us: now_us,
            ..self.clone()
        };
        if after.pause.is_some() || !is_enforced || !after.is_at_ceiling() {
            return Ok((after, consumed));
        }
        let paused = Self {
            revision: after.revision + 1,
            ..after.judged(now_us, is_enforced)
        };
        Ok((paused, consumed))
    }

    /// After `amount_micros` were set aside.
    pub fn reserved(&self, amount_micros: i64) -> Result<Self, Closed> {
        if self.pause.is_some() {
            return Err(Closed::Paused);
        }
        let sum = i128::from(self.spent_micros)
            + i128::from(self.reserved_micros)
            + i128::from(amount_micros);
        if self.is_at_ceiling() || sum > i128::from(self.ceiling_micros) {
            return Err(Closed::Ceiling);
        }
        Ok(Self {
            reserved_micros: self.reserved_micros + amount_micros,
            ..self.clone()
        })
    }

    /// With another ceiling, and another window of which `spent_micros` were spent already.
    #[must_use]
    pub fn set_to(
        &self,
        ceiling_micros: i64,
        period: Period,
        spent_micros: i64,
        is_enforced: bool,
        now_us: i64,
    ) -> Self {
        let window = if period == self.period {
            self.window
        } else {
            period.window(now_us, self.created_at_us)
        };
        let after = Self {
            ceiling_micros,
            period,
            window,
            spent_micros,
            updated_at_us: now_us,
            revision: self.revision + 1,
            ..self.clone()
        };
        after.judged(now_us, is_enforced)
    }

    /// Paused by a person; none if it is already.
    #[must_use]
    pub fn paused(&self, by_name: &str, now_us: i64) -> Option<Self> {
        let by = self.pause.as_ref().map(|pause| pause.by);
        if by == Some(PausedBy::Manual) {
            return None;
        }
        let pause = Pause {
            by: PausedBy::Manual,
            at_us: now_us,
            by_name: Some(by_name.to_owned()),
        };
        Some(Self {
            pause: Some(pause),
            updated_at_us: now_us,
            revision: self.revision + 1,
            ..self.clone()
        })
    }

    /// Resumed by a person; none if it is not paused.
    pub fn resumed(&self, is_enforced: bool, now_us: i64) -> Result<Option<Self>, OverCeiling> {
        if is_enforced && self.is_at_ceiling() {
            return Err(OverCeiling);
        }
        Ok(self.pause.as_ref().map(|_| Self {
            pause: None,
            updated_at_us: now_us,
            revision: self.revision + 1,
            ..self.clone()
        }))
    }

    /// What will have been spent when the window ends, if spending goes on as it did in this window until now; rounded half
    /// up. None for one that does not end, and for sums that cannot be counted.
    pub fn projected_micros(&self, now_us: i64) -> Option<i64> {
        let Window {
            starts_at_us,
            ends_at_us,
        } = self.window;
        let end_us = ends_at_us?;
        let elapsed = i128::from(now_us.clamp(starts_at_us, end_us)) - i128::from(starts_at_us);
        if elapsed == 0 {
            return Some(self.spent_micros);
        }
        let whole = i128::from(end_us) - i128::from(starts_at_us);
        // Both factors are below 2^63.
        let projected = (i128::from(self.spent_micros) * whole * 2 / elapsed + 1) / 2;
        i64::try_from(projected).ok()
    }

    /// What may still be set aside or spent; nothing beyond the ceiling.
    pub fn remaining_micros(&self) -> i64 {
        let rest = i128::from(self.ceiling_micros)
            - i128::from(self.spent_micros)
            - i128::from(self.reserved_micros);
        i64::try_from(rest.max(0)).unwrap_or_default()
    }

    /// Paused by its ceiling or not, as its sums now say. A manual pause stays; where nothing is enforced nothing pauses.
    fn judged(mut self, now_us: i64, is_enforced: bool) -> Self {
        match &self.pause {
            Some(pause) if pause.by == PausedBy::Manual => {}
            Some(_) if !self.is_at_ceiling() => self.pause = None,
            None if self.is_at_ceiling() && is_enforced => {
                self.pause = Some(Pause {
                    by: PausedBy::Ceiling,
                    at_us: now_us,
                    by_name: None,
                });
            }
            Some(_) | None => {}
        }
        self
    }
}

#[cfg(test)]
mod tests;
