//! The command line as types. Parsing only: what each command does is in the file of its name.

use clap::{Parser, Subcommand};

use crate::audit::AuditAction;
use crate::blobs::BlobsAction;
use crate::budgets::BudgetsAction;
use crate::bulk::BulkAction;
use crate::commands::CommandsAction;
use crate::factories::FactoriesAction;
use crate::groups::GroupsAction;
use crate::hosts::HostsAction;
use crate::jobs::JobsAction;
use crate::license::LicenseAction;
use crate::login::LoginArgs;
use crate::module::ModuleAction;
use crate::modules::ModulesAction;
use crate::nodes::NodesAction;
use crate::place::PlaceAction;
use crate::rolling::RollingAction;
use crate::run::RunArgs;
use crate::schedules::SchedulesAction;
use crate::secrets::SecretsAction;
use crate::select::SelectArgs;
use crate::session::OutputFormat;
use crate::settings::ConnectionArgs;
use crate::tokens::{EnrollmentTokensAction, TokensAction};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; of an operation that was watched, every host succeeded
  1  the operation finished and not every host succeeded; the audit log does not verify
  2  wrong usage
  3  the server refused or could not be reached
  4  the feature is not available (not licensed, or its module is not there)
  5  asked, and the answer was no";

/// Run operations over a fleet of hosts.
#[derive(Parser)]
#[command(name = "fleetwright", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Args {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
    /// Do not ask before changing hosts
    #[arg(short, long, global = true)]
    pub yes: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Sign in and remember the server and its token
    Login(LoginArgs),
    /// Forget the remembered token
    Logout,
    /// Look at and approve hosts, tag them, run something on one
    Hosts {
        #[command(subcommand)]
        action: HostsAction,
    },
    /// Show which hosts an expression selects
    Select(SelectArgs),
    /// Named, nestable selections of hosts
    Groups {
        #[command(subcommand)]
        action: GroupsAction,
    },
    /// Run a command on every host an expression selects
    Run(RunArgs),
    /// Bulk operations: look, follow, stop, repeat
    Bulk {
        #[command(subcommand)]
        action: BulkAction,
    },
    /// Rolling deployments: batch after batch, halted by failures
    Rolling {
        #[command(subcommand)]
        action: RollingAction,
    },
    /// Schedules: what starts by itself, and when
    Schedules {
        #[command(subcommand)]
        action: SchedulesAction,
    },
    /// Budgets: what products may spend, and have spent
    Budgets {
        #[command(subcommand)]
        action: BudgetsAction,
    },
    /// Jobs: submit, look, decide what becomes of them
    Jobs {
        #[command(subcommand)]
        action: JobsAction,
    },
    /// Who takes jobs; `factory run` is a worker
    #[command(visible_alias = "factory")]
    Factories {
        #[command(subcommand)]
        action: FactoriesAction,
    },
    /// Hosts seen as capacity
    Nodes {
        #[command(subcommand)]
        action: NodesAction,
    },
    /// VMs on nodes
    Place {
        #[command(subcommand)]
        action: PlaceAction,
    },
    /// Commands sent to single hosts
    Commands {
        #[command(subcommand)]
        action: CommandsAction,
    },
    /// Uploaded content of deployed files
    Blobs {
        #[command(subcommand)]
        action: BlobsAction,
    },
    /// The server's modules
    Modules {
        #[command(subcommand)]
        action: ModulesAction,
    },
    /// The server's licence; for vendors, keys and issuing
    License {
        #[command(subcommand)]
        action: LicenseAction,
    },
    /// Sign and check module files
    Module {
        #[command(subcommand)]
        action: ModuleAction,
    },
    /// The audit log: look, check, keep signed heads of it
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
    /// Passwords and keys that operations refer to by name
    Secrets {
        #[command(subcommand)]
        action: SecretsAction,
    },
    /// API tokens
    Tokens {
        #[command(subcommand)]
        action: TokensAction,
    },
    /// Tokens with which agents enroll
    EnrollmentTokens {
        #[command(subcommand)]
        action: EnrollmentTokensAction,
    },
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn everything_after_the_dashes_belongs_to_the_hosts() {
        let args = Args::try_parse_from([
            "fleetwright",
            "run",
            "tags contains web",
            "--",
            "ls",
            "-l",
            "--yes",
        ])
        .expect("parses");
        assert!(!args.yes);
        match args.command {
            Command::Run(run) => assert_eq!(run.command, ["ls", "-l", "--yes"]),
            _ => panic!("not a run"),
        }
    }

    /// The commands of this program in the `sh` blocks of a document, whole lines only, each as its words.
    fn examples(document: &str) -> Vec<Vec<String>> {
        let joined = document.replace("\\\n", " ");
        let mut inside = false;
        let mut found = Vec::new();
        for line in joined.lines() {
            match line {
                "```sh" => inside = true,
                "```" => inside = false,
                _ if inside && line.starts_with("fleetwright ") => found.push(words(line)),
                _ => {}
            }
        }
        found
    }

    /// As a shell splits them, as far as the documents go: blanks, single and double quotes. A redirection or a pipe is the
    /// shell's, and so is what follows it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for character in line.chars() {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (None, ' ') => words.extend(word.take()),
                (None, '<' | '>' | '|') => break,
                (Some(_) | None, _) => word.get_or_insert_default().push(character),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_example_of_the_documents_is_a_command_line() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut seen = 0;
        for name in [
            "README.md",
            "docs/operations.md",
            "docs/rolling-deployments.md",
            "docs/schedules.md",
            "docs/budgets.md",
            "docs/backup-and-restore.md",
        ] {
            let document = std::fs::read_to_string(root.join(name)).expect(name);
            for example in examples(&document) {
                if let Err(error) = Args::try_parse_from(&example) {
                    panic!("{name}: {example:?}: {error}");
                }
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
