//! The measures of the product's performance targets, each against a real release server with its modules as shared
//! libraries. A measure reports; it never fails because of a time.

mod bulk;
mod claims;
mod crowded;
mod output;
mod placing;
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

pub const ALL: [Measure; 15] = [
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
        "claims",
        "claims of 64 factories at once out of 1,000, 10,000 and 100,000 queued jobs",
        claims::measure_sqlite,
    ),
    (
        "claims-postgres",
        "the same on PostgreSQL",
        claims::measure_postgres,
    ),
    (
        "placements",
        "placements over 100, 1,000, 5,000 and 10,000 nodes that are simulated agents",
        placing::measure_sqlite,
    ),
    (
        "placements-postgres",
        "the same on PostgreSQL",
        placing::measure_postgres,
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
