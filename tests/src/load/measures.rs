//! The measures of the product's performance targets, each against a real release server with its modules as shared
//! libraries. A measure reports; it never fails because of a time.

mod bulk;
mod crowded;
mod output;
mod real;
mod requests;
mod routes;
mod schedules;
mod selection;
mod server;
mod simulated;
mod single;
mod size;
mod startup;
mod storm;

use super::report::Report;

pub use size::Size;

/// Name, what it measures, how.
type Measure = (&'static str, &'static str, fn(&mut Report, Size));

pub const ALL: [Measure; 11] = [
    (
        "crowd",
        "memory of idle agents, heartbeats, bulk operations over simulated agents, API latency meanwhile",
        crowded::measure,
    ),
    (
        "bulk",
        "a bulk operation over 10,000 simulated agents, seven times",
        simulated::measure_sqlite,
    ),
    (
        "bulk-postgres",
        "the same on PostgreSQL",
        simulated::measure_postgres,
    ),
    (
        "single",
        "one command on one idle host, from the POST until its result is stored",
        single::measure,
    ),
    (
        "real",
        "a bulk operation over 100 real agents",
        real::measure,
    ),
    (
        "selection",
        "selectors, group membership, progress of a large operation",
        selection::measure,
    ),
    (
        "schedules",
        "launches of schedules that are due in one second, and what waiting ones cost",
        schedules::measure,
    ),
    (
        "routes",
        "a module's routes against native ones",
        routes::measure,
    ),
    (
        "output",
        "memory of both sides while a script prints a gigabyte",
        output::measure,
    ),
    (
        "storm",
        "every simulated agent loses its connection at once",
        storm::measure,
    ),
    (
        "startup",
        "start to ready with a large inventory and history",
        startup::measure,
    ),
];
