//! Medians, spreads and percentiles of a few runs or many requests.

use std::time::Duration;

/// The middle of some numbers and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub minimum: f64,
    pub maximum: f64,
    pub count: usize,
}

/// Panics without numbers.
pub fn spread(numbers: &[f64]) -> Spread {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().expect("at least one number");
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        (at(middle - 1) + at(middle)) / 2.0
    } else {
        at(middle)
    };
    Spread {
        median,
        minimum: at(0),
        maximum: at(sorted.len() - 1),
        count: sorted.len(),
    }
}

/// The smallest value that at least `percent` of them do not exceed (nearest rank). Zero without values.
pub fn percentile(values: &[Duration], percent: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.max(1) - 1)
        .copied()
        .unwrap_or(Duration::ZERO)
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let odd = spread(&[9.0, 1.0, 2.0]);
        assert_eq!(
            (odd.median, odd.minimum, odd.maximum, odd.count),
            (2.0, 1.0, 9.0, 3)
        );
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50.0), Duration::from_millis(100));
        assert_eq!(percentile(&values, 99.0), Duration::from_millis(198));
        assert_eq!(percentile(&values, 100.0), Duration::from_millis(200));
        assert_eq!(percentile(&[], 99.0), Duration::ZERO);
    }
}
