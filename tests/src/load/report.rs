//! Results as JSON lines, a table for people, and plots.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::plot::{Plot, Series};
use super::statistics::Spread;

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Higher,
    Lower,
}

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub measure: String,
    /// What was varied, such as the number of hosts.
    pub size: u64,
    pub unit: &'static str,
    pub median: f64,
    pub minimum: f64,
    pub maximum: f64,
    pub runs: usize,
    pub better: Better,
    /// Absent for figures that only explain another.
    pub target: Option<f64>,
    pub met: Option<bool>,
    /// What keeps it from being better, as far as this run can tell.
    pub limited_by: String,
}

impl Measurement {
    pub fn new(
        measure: &str,
        size: u64,
        unit: &'static str,
        spread: Spread,
        better: Better,
    ) -> Self {
        Self {
            measure: measure.to_owned(),
            size,
            unit,
            median: spread.median,
            minimum: spread.minimum,
            maximum: spread.maximum,
            runs: spread.count,
            better,
            target: None,
            met: None,
            limited_by: String::new(),
        }
    }

    #[must_use]
    pub fn named(mut self, measure: &str) -> Self {
        measure.clone_into(&mut self.measure);
        self
    }

    #[must_use]
    pub fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self.met = Some(match self.better {
            Better::Higher => self.median >= target,
            Better::Lower => self.median <= target,
        });
        self
    }

    #[must_use]
    pub fn limited_by(mut self, what: impl Into<String>) -> Self {
        self.limited_by = what.into();
        self
    }
}

/// Writes results as they come, so that a run that is stopped leaves what it has measured.
pub struct Report {
    folder: PathBuf,
    all: Vec<Measurement>,
}

impl Report {
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("results.jsonl"), "")?;
        Ok(Self {
            folder: folder.to_owned(),
            all: Vec::new(),
        })
    }

    pub fn add(&mut self, measurement: Measurement) {
        let line = serde_json::to_string(&measurement).expect("a measurement is plain data");
        println!("{line}");
        let appended = std::fs::File::options()
            .append(true)
            .open(self.folder.join("results.jsonl"))
            .and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = appended {
            eprintln!("results.jsonl: {error}");
        }
        self.all.push(measurement);
    }

    /// Prints the table and writes it and the plots. True if every target was met.
    pub fn finish(&self) -> bool {
        let table = table(&self.all);
        print!("{table}");
        self.write("results.txt", &table);
        for (name, plot) in growth_plots(&self.all) {
            self.write(&format!("{name}.svg"), &plot.svg());
        }
        self.all.iter().all(|one| one.met != Some(false))
    }

    fn write(&self, name: &str, text: &str) {
        if let Err(error) = std::fs::write(self.folder.join(name), text) {
            eprintln!("{name}: {error}");
        }
    }
}

fn table(all: &[Measurement]) -> String {
    let mut text = format!(
        "\n{:<44} {:>9} {:>12} {:>24} {:>12}  {:<4} limited by\n",
        "measure", "size", "median", "from … to", "target", ""
    );
    for one in all {
        let range = format!("{} … {}", short(one.minimum), short(one.maximum));
        let target = one.target.map(short).unwrap_or_default();
        let verdict = match one.met {
            Some(true) => "met",
            Some(false) => "MISS",
            None => "",
        };
        let _ = writeln!(
            text,
            "{:<44} {:>9} {:>12} {:>24} {:>12}  {:<4} {}",
            format!("{} [{}]", one.measure, one.unit),
            one.size,
            short(one.median),
            range,
            target,
            verdict,
            one.limited_by
        );
    }
    text
}

/// Three significant digits or whole numbers: what a benchmark can know.
fn short(number: f64) -> String {
    if number.abs() >= 100.0 {
        format!("{number:.0}")
    } else if number.abs() >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}

/// One plot for every measure that was taken at several sizes.
fn growth_plots(all: &[Measurement]) -> Vec<(String, Plot)> {
    let mut names: Vec<&str> = all.iter().map(|one| one.measure.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| {
            let of_name: Vec<&Measurement> = all.iter().filter(|one| one.measure == name).collect();
            let first = of_name.first()?;
            let points: Vec<(f64, f64)> = of_name
                .iter()
                .map(|one| (one.size as f64, one.median))
                .collect();
            let plot = Plot {
                title: name.to_owned(),
                x_label: "hosts".to_owned(),
                y_label: first.unit.to_owned(),
                series: vec![Series {
                    name: "median".to_owned(),
                    points,
                }],
                target: first.target,
            };
            let file = name.replace(|character: char| !character.is_ascii_alphanumeric(), "-");
            (of_name.len() > 1).then_some((file, plot))
        })
        .collect()
}

/// A word to whoever waits for the report.
pub fn say(text: &str) {
    eprintln!("bench: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::statistics::spread;

    #[test]
    fn a_target_is_met_from_its_good_side() {
        let measured = |better| Measurement::new("m", 1, "u", spread(&[5.0]), better);
        assert_eq!(measured(Better::Higher).target(5.0).met, Some(true));
        assert_eq!(measured(Better::Higher).target(5.1).met, Some(false));
        assert_eq!(measured(Better::Lower).target(5.0).met, Some(true));
        assert_eq!(measured(Better::Lower).target(4.9).met, Some(false));
    }

    #[test]
    fn only_measures_at_several_sizes_are_plotted() {
        let at =
            |name: &str, size| Measurement::new(name, size, "u", spread(&[1.0]), Better::Lower);
        let plots = growth_plots(&[at("a b", 10), at("a b", 100), at("c", 1)]);
        let names: Vec<&str> = plots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a-b"]);
    }
}
