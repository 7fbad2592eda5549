//! The timetable against crontab(5) read a second time: a walk over every minute of the world's clock, asking of each
//! whether the wall shows a time the expression names. It shares nothing with the module but the offsets of the zones.

use fleetwright_module_schedules::cron::Cron;
use fleetwright_module_schedules::timetable::{Timetable, Zone};
use fleetwright_tests::seed::times;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// In an ordinary run, half of them at a clock change: some five seconds without optimisation.
const EXPRESSIONS: u64 = 2_000;
const MINUTES: usize = 3 * 1_440;
/// Longer walks, for expressions of which most minutes match nothing.
const LONG_EXPRESSIONS: u64 = 20;
const LONG_MINUTES: usize = 200 * 1_440;
/// Clocks are set at quarters of an hour, by anybody's.
const QUARTER: i64 = 15;
const MINUTE_US: i64 = 60_000_000;

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Pacific/Auckland",
    "Europe/London",
    "Pacific/Chatham",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Sao_Paulo",
    "Pacific/Apia",
];

/// The date a wall shows.
#[derive(Clone, Copy)]
struct Wall {
    day: u32,
    month: u32,
    weekday: u32,
}

/// Minute by minute, from civil arithmetic of its own (days from 1970-01-01, a Thursday).
fn wall(count: i64) -> Wall {
    let days = count.div_euclid(1_440);
    let (mut year, mut left) = (1970, days);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    Wall {
        day: u32::try_from(left).unwrap() + 1,
        month,
        weekday: u32::try_from((days + 4).rem_euclid(7)).unwrap(),
    }
}

/// Whether one field's text names the value: the text is looked through, nothing is expanded.
fn names(text: &str, value: u32, first: u32, words: &[&str]) -> bool {
    let number = |text: &str| {
        let word = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text));
        word.map_or_else(
            || text.parse::<u32>().unwrap(),
            |at| u32::try_from(at).unwrap() + first,
        )
    };
    text.split(',').any(|item| {
        let (span, step) = item.split_once('/').unwrap_or((item, "1"));
        let step: u32 = step.parse().unwrap();
        match (span, span.split_once('-')) {
            ("*", _) => (value - first).is_multiple_of(step),
            (_, Some((low, high))) => {
                let (low, high) = (number(low), number(high));
                value >= low && value <= high && (value - low).is_multiple_of(step)
            }
            (single, None) => number(single) == value,
        }
    })
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn matches_day(fields: &[String; 5], wall: Wall) -> bool {
    let [_, _, day, month, weekday] = fields;
    if !names(month, wall.month, 1, &MONTHS) {
        return false;
    }
    let by_day = names(day, wall.day, 1, &[]);
    let sunday_as_7 = wall.weekday == 0 && names(weekday, 7, 0, &WEEKDAYS);
    let by_weekday = names(weekday, wall.weekday, 0, &WEEKDAYS) || sunday_as_7;
    if day.starts_with('*') || weekday.starts_with('*') {
        by_day && by_weekday
    } else {
        by_day || by_weekday
    }
}

/// Asks each day and each time of the day once.
struct Asked<'a> {
    fields: &'a [String; 5],
    day: Option<(i64, bool)>,
    times: Vec<Option<bool>>,
}

impl Asked<'_> {
    fn matches(&mut self, count: i64) -> bool {
        let day = count.div_euclid(1_440);
        let day_matches = match self.day {
            Some((asked, answer)) if asked == day => answer,
            _ => {
                let answer = matches_day(self.fields, wall(count));
                self.day = Some((day, answer));
                answer
            }
        };
        let fields = self.fields;
        let time = u32::try_from(count.rem_euclid(1_440)).unwrap();
        day_matches
            && *self.times[time as usize].get_or_insert_with(|| {
                names(&fields[0], time % 60, 0, &[]) && names(&fields[1], time / 60, 0, &[])
            })
    }
}

/// Every fire from `start` (a whole minute) on, walking.
fn walk(fields: &[String; 5], zone: &TimeZone, start: i64, minutes: usize) -> Vec<i64> {
    let offset_minutes = |minute: i64| {
        let at = Timestamp::from_second(minute * 60).unwrap();
        i64::from(zone.to_offset(at).seconds()) / 60
    };
    let elapsed = fields[0].starts_with('*') || fields[1].starts_with('*');
    // The furthest the wall has ever shown: what is not beyond it is shown again.
    let mut shown = (start - 2 * 1_440..start)
        .step_by(15)
        .chain([start - 1])
        .map(|minute| minute + offset_minutes(minute))
        .max()
        .unwrap();
    let mut asked = Asked {
        fields,
        day: None,
        times: vec![None; 1_440],
    };
    let mut fires = Vec::new();
    let mut offset = offset_minutes(start);
    for minute in start..start + i64::try_from(minutes).unwrap() {
        if minute % QUARTER == 0 {
            offset = offset_minutes(minute);
        }
        let now = minute + offset;
        let fires_now = if elapsed {
            asked.matches(now)
        } else {
            // What was jumped over, and now itself; nothing while the wall repeats itself.
            (shown + 1..=now).any(|count| asked.matches(count))
        };
        shown = shown.max(now);
        if fires_now {
            fires.push(minute * MINUTE_US);
        }
    }
    fires
}

fn item(random: &mut StdRng, low: u32, high: u32, words: &[&str]) -> String {
    let spelled = |random: &mut StdRng, value: u32| {
        let word = usize::try_from(value - low)
            .ok()
            .and_then(|at| words.get(at));
        match word {
            Some(word) if random.random_bool(0.5) => {
                if random.random_bool(0.5) {
                    word.to_uppercase()
                } else {
                    (*word).to_owned()
                }
            }
            _ => value.to_string(),
        }
    };
    let first = random.random_range(low..=high);
    match random.random_range(0..4) {
        0 | 1 => spelled(random, first),
        2 => {
            let last = random.random_range(first..=high);
            // 7 has no name of its own.
            format!("{first}-{last}")
        }
        _ => {
            let last = random.random_range(first..=high);
            format!("{first}-{last}/{}", random.random_range(1..=high))
        }
    }
}

fn field(random: &mut StdRng, star: f64, low: u32, high: u32, words: &[&str]) -> String {
    if random.random_bool(star) {
        return if random.random_bool(0.6) {
            "*".to_owned()
        } else {
            format!("*/{}", random.random_range(1..=high))
        };
    }
    let items: Vec<String> = (0..random.random_range(1..=3))
        .map(|_| item(random, low, high, words))
        .collect();
    items.join(",")
}

/// Near the hours at which clocks are set, so that it matters.
fn expression(random: &mut StdRng) -> [String; 5] {
    let hours = if random.random_bool(0.7) { 3 } else { 23 };
    [
        field(random, 0.25, 0, 59, &[]),
        field(random, 0.25, 0, hours, &[]),
        field(random, 0.6, 1, 31, &[]),
        field(random, 0.8, 1, 12, &MONTHS),
        field(random, 0.6, 0, 7, &WEEKDAYS),
    ]
}

/// A minute: half of the time a day or so before a clock change.
fn start(random: &mut StdRng, zone: &TimeZone) -> i64 {
    let year_2024 = 1_704_067_200 / 60;
    let any = year_2024 + random.random_range(0..4 * 366 * 1_440);
    if random.random_bool(0.5) {
        return any;
    }
    let from = Timestamp::from_second(any * 60).unwrap();
    let changes: Vec<_> = zone.following(from).take(2).collect();
    match changes.choose(random) {
        Some(change) => change.timestamp().as_second() / 60 - random.random_range(1..2_000),
        None => any,
    }
}

fn compare(seed: u64, minutes: usize) -> Option<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let fields = expression(&mut random);
    let text = fields.join(" ");
    let name = *ZONES.choose(&mut random).unwrap();
    let zone = TimeZone::get(name).unwrap();
    let start = start(&mut random, &zone);
    let expected = walk(&fields, &zone, start, minutes);
    let table = Timetable::new(&Cron::parse(&text).unwrap(), Zone::named(name).unwrap());
    let end_us = (start + i64::try_from(minutes).unwrap()) * MINUTE_US;
    let mut found = Vec::new();
    let mut at_us = start * MINUTE_US - 1;
    while let Some(next_us) = table.next_after(at_us).filter(|next_us| *next_us < end_us) {
        found.push(next_us);
        at_us = next_us;
    }
    let last = table.last_between(start * MINUTE_US - 1, end_us - 1);
    if found == expected && last == expected.last().copied() {
        return None;
    }
    let differs = found
        .iter()
        .zip(&expected)
        .find(|(one, other)| one != other);
    Some(format!(
        "seed {seed}: {text} in {name} from minute {start}: {} fires, {} expected, first difference {differs:?}",
        found.len(),
        expected.len()
    ))
}

#[test]
fn random_expressions_fire_as_crontab_says() {
    let differences: Vec<String> = (0..times(EXPRESSIONS))
        .filter_map(|seed| compare(seed, MINUTES))
        .collect();
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn rare_expressions_fire_as_crontab_says_for_most_of_a_year() {
    let seeds = 1_000_000..1_000_000 + times(LONG_EXPRESSIONS);
    let differences: Vec<String> = seeds
        .filter_map(|seed| compare(seed, LONG_MINUTES))
        .collect();
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
