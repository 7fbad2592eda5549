//! Partitions and thresholds, by table and by property.

use proptest::prelude::*;

use super::*;

fn ends(sizing: &Sizing, total: u64) -> Vec<u64> {
    let partition = Partition::new(sizing, total);
    (1..=partition.count())
        .map(|batch| partition.end(batch))
        .collect()
}

#[test]
fn batches_end_where_the_page_says() {
    use Wave::{Hosts, Percent};
    let waves = |waves: &[Wave]| Sizing::Waves(waves.to_vec());
    let growing = waves(&[Hosts(1), Percent(10), Percent(50), Percent(100)]);
    let cases: [(Sizing, u64, &[u64]); 11] = [
        (Sizing::BatchSize(10), 25, &[10, 20, 25]),
        (Sizing::BatchSize(10), 10, &[10]),
        (Sizing::BatchSize(10), 1, &[1]),
        (Sizing::BatchSize(u64::MAX), 3, &[3]),
        (growing.clone(), 100, &[1, 10, 50, 100]),
        // Rounded up: 10 % of 25 is 3, half of it 13.
        (growing.clone(), 25, &[1, 3, 13, 25]),
        (growing.clone(), 3, &[1, 2, 3]),
        (growing, 1, &[1]),
        // What no wave reaches comes last; a wave that adds nobody is left out.
        (waves(&[Percent(10)]), 20, &[2, 20]),
        (waves(&[Hosts(50), Percent(10)]), 100, &[50, 100]),
        (waves(&[Hosts(500)]), 100, &[100]),
    ];
    for (sizing, total, expected) in cases {
        assert_eq!(ends(&sizing, total), expected, "{sizing:?} of {total}");
    }
}

#[test]
fn thresholds_are_passed_strictly_and_in_integers() {
    // failed, total, threshold, passed
    let cases = [
        (0, 10, 0, false),
        (1, 10, 0, true),
        (1, 100_000, 0, true),
        (2, 10, 20, false),
        (3, 10, 20, true),
        (1, 3, 33, true),
        (1, 3, 34, false),
        (2, 3, 66, true),
        (2, 3, 67, false),
        (20_000, 100_000, 20, false),
        (20_001, 100_000, 20, true),
        (10, 10, 99, true),
        (10, 10, 100, false),
        (u64::MAX, u64::MAX, 100, false),
        (0, 0, 0, false),
    ];
    for (failed, total, threshold, expected) in cases {
        assert_eq!(
            is_passed(failed, threshold, total),
            expected,
            "{failed} of {total} at {threshold}"
        );
    }
}

#[test]
fn failures_are_told_with_one_decimal_rounded_half_up() {
    let cases = [
        (0, 10, 0),
        (1, 3, 333),
        (2, 3, 667),
        (1, 16, 63),
        (3, 3, 1000),
        (0, 0, 0),
    ];
    for (failed, of, expected) in cases {
        assert_eq!(failure_tenths(failed, of), expected, "{failed} of {of}");
    }
}

fn sizing() -> impl Strategy<Value = Sizing> {
    let wave = prop_oneof![
        (1_u64..2_000).prop_map(Wave::Hosts),
        (1_u64..=100).prop_map(Wave::Percent)
    ];
    prop_oneof![
        (1_u64..3_000).prop_map(Sizing::BatchSize),
        prop::collection::vec(wave, 1..12).prop_map(Sizing::Waves)
    ]
}

proptest! {
    #[test]
    fn every_host_is_in_exactly_one_batch(sizing in sizing(), total in 1_u64..2_000) {
        let partition = Partition::new(&sizing, total);
        let count = partition.count();
        prop_assert_eq!(partition.end(0), 0);
        prop_assert_eq!(partition.end(count), total);
        for batch in 1..=count {
            let (start, end) = (partition.end(batch - 1), partition.end(batch));
            prop_assert!(start < end, "batch {} is empty", batch);
            prop_assert_eq!(partition.batch_of(start), batch);
            prop_assert_eq!(partition.batch_of(end - 1), batch);
        }
    }
}
