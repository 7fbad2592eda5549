//! The main job, shown: a server, agents, a selection, a bulk operation with its results. Everything lives in a
//! fresh folder below `target/demo`; the agents may run scripts and write files there, and nothing else.

mod agents;
mod operator;
mod place;
mod placement;
mod server;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, MODULES, Profile};
use crate::children::Children;
use crate::keys::Vendor;
use crate::steps::{Steps, bold, faint, say, time};
use crate::wait;

use operator::Operator;
use place::Place;
use server::Server;

/// Beyond this, the agents of one machine spend their time on each other.
const HOSTS_MAX: usize = 200;
const CONNECTED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub once: bool,
    pub community: bool,
    pub hosts: usize,
    pub port: Option<u16>,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            once: false,
            community: false,
            hosts: 3,
            port: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                words
                    .next()
                    .with_context(|| format!("{word} takes a number"))
            };
            match word.as_str() {
                "--once" => options.once = true,
                "--community" => options.community = true,
                "--hosts" => options.hosts = number()?.parse().context("--hosts takes a number")?,
                "--port" => options.port = Some(number()?.parse().context("--port takes a port")?),
                unknown => bail!("unexpected argument: {unknown}"),
            }
        }
        if !(1..=HOSTS_MAX).contains(&options.hosts) {
            bail!("--hosts takes 1 to {HOSTS_MAX}");
        }
        Ok(options)
    }
}

pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let mut steps = Steps::default();
    // Declared before everything it outlives: dropped last, it ends what runs, whatever happened.
    let mut children = Children::new()?;

    steps.step(build_title(options.community), || build(options.community))?;
    let place = Place::new()?;
    let operator = Operator::new(&place);
    let vendor = if options.community {
        None
    } else {
        Some(
            steps.step("Development keys, a licence, signed modules", || {
                prepare_modules(&place)
            })?,
        )
    };
    let server = steps.step("Server on SQLite", || {
        Server::start(options.port, vendor.as_ref(), &place, &mut children)
    })?;
    steps.step("Sign in", || operator.sign_in(&server))?;
    steps.step(
        &format!("Enroll {} agents, approve and tag them", options.hosts),
        || {
            let hosts = agents::start(options.hosts, &place, &server, &operator, &mut children)?;
            wait::until("the agents to connect", CONNECTED_WITHIN, || {
                children.check()?;
                operator
                    .online_hosts()
                    .map(|online| (online >= hosts.len()).then_some(()))
            })?;
            agents::tag(&hosts, &operator)
        },
    )?;
    if options.community {
        community_job(&mut steps, &operator)?;
    } else {
        main_job(&mut steps, &operator)?;
        placement::show(&mut steps, &place, &operator, &mut children)?;
    }

    println!("\n{} in {}", bold("The whole job"), time(started.elapsed()));
    println!("{}", access(&server, &place));
    if options.once {
        children.end()?;
        return Ok(());
    }
    println!("\n{}", faint("Ctrl-C ends it."));
    loop {
        children.check()?;
        wait::rest();
    }
}

/// A server with every module, for as long as `work` takes.
pub fn with_server<T>(work: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
    let mut children = Children::new()?;
    build(false)?;
    let place = Place::new()?;
    let vendor = prepare_modules(&place)?;
    let server = Server::start(None, Some(&vendor), &place, &mut children)?;
    let result = work(&server);
    children.end()?;
    result
}

fn build_title(community: bool) -> &'static str {
    if community {
        "Build server, agent and command line"
    } else {
        "Build server, agent, command line and modules"
    }
}

fn build(community: bool) -> Result<()> {
    let modules = MODULES.map(cargo::module_package);
    let mut packages = vec!["fleetwright-server", "fleetwright-agent", "fleetwright"];
    if !community {
        packages.extend(modules.iter().map(String::as_str));
    }
    cargo::build(Profile::Dev, &packages)
}

fn prepare_modules(place: &Place) -> Result<Vendor> {
    place.explain_modules_folder();
    let vendor = Vendor::create(operator::binary(), place.folder.join("keys"))?;
    for module in MODULES {
        let library = place.install_module(&cargo::module_library(Profile::Dev, module), module)?;
        vendor.sign_module(&library)?;
        say(&format!("{module}: {}", library.display()));
    }
    Ok(vendor)
}

fn main_job(steps: &mut Steps, operator: &Operator) -> Result<()> {
    steps.step("The modules the server loaded", || {
        operator.show(&["modules", "list"])
    })?;
    let expression = "platform = linux and tags contains web";
    steps.step("Select with an expression", || {
        operator.show(&["select", expression])
    })?;
    steps.step("Run a script on every host", || {
        operator
            .show(&[
                "run",
                "platform = linux",
                "--yes",
                "--reason",
                "a demonstration",
                "--timeout",
                "60",
                "--",
                SCRIPT,
            ])
            .context("not every host succeeded")
    })
}

/// A second of work, so that there is progress to see.
const SCRIPT: &str = "sleep 1; uname -srm";

fn community_job(steps: &mut Steps, operator: &Operator) -> Result<()> {
    steps.step(
        "One operation on one host: part of the community edition",
        || operator.show(&["hosts", "run", agents::FIRST_HOST, "--", SCRIPT]),
    )?;
    steps.step("The same over the fleet: needs a module", || {
        let request = ["run", "platform = linux", "--yes", "--", SCRIPT];
        operator.refused(
            &request,
            operator::EXIT_NOT_AVAILABLE,
            "fleet_bulk_operations",
        )
    })
}

fn access(server: &Server, place: &Place) -> String {
    [
        ("URL", server.url.as_str()),
        ("user", server::USER),
        ("password", server.password.as_str()),
        ("files", &place.folder.display().to_string()),
        (
            "try",
            &format!(
                "FLEETWRIGHT_CONFIG={} {} hosts list",
                place.operator_config().display(),
                operator::binary().display()
            ),
        ),
    ]
    .iter()
    .map(|(name, value)| format!("  {name:<10}{value}"))
    .collect::<Vec<_>>()
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn options_are_read_and_bounded() {
        let options = parse(&["--once", "--hosts", "5", "--port", "9000"]).expect("fine");
        assert_eq!(
            options,
            Options {
                once: true,
                community: false,
                hosts: 5,
                port: Some(9000)
            }
        );
        for wrong in [
            &["--hosts", "0"][..],
            &["--hosts"],
            &["--hosts", "x"],
            &["--forever"],
            &["--port", "70000"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
