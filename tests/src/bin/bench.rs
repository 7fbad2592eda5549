//! `fleetwright-bench [--quick] [NAME…]`: runs the measures and leaves results, a table and plots in
//! `FLEETWRIGHT_BENCH_OUT` (default `target/bench`). It reports targets that were missed and still exits with 0.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fleetwright_tests::load::measures::{self, Size};
use fleetwright_tests::load::report::Report;
use fleetwright_tests::source;

fn main() -> Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let quick = names.iter().any(|name| name == "--quick");
    names.retain(|name| name != "--quick");
    let known: Vec<&str> = measures::ALL.iter().map(|(name, ..)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no measure {unknown}; there are: {}", known.join(", "));
    }
    let size = if quick { Size::Quick } else { Size::Full };
    let folder = std::env::var_os("FLEETWRIGHT_BENCH_OUT")
        .map_or_else(|| source::workspace().join("target/bench"), PathBuf::from);
    let mut report = Report::new(&folder).with_context(|| folder.display().to_string())?;
    for (name, what, measure) in measures::ALL {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("bench: {name}: {what}");
            let started = Instant::now();
            measure(&mut report, size);
            eprintln!("bench: {name} took {:?}", started.elapsed());
        }
    }
    if !report.finish() {
        eprintln!("bench: some targets were missed; see {}", folder.display());
    }
    Ok(())
}
