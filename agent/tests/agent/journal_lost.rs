//! An agent whose journal cannot be written any more ends, so that whoever started it starts it again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fleetwright_agent::agent::{self, AgentError};
use fleetwright_agent::journal::Disk;
use fleetwright_agent::journal::store::JournalStore;
use fleetwright_agent::launch::Launcher;
use fleetwright_protocol::ServerFrame;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::connection::{enroll, within};
use crate::fake_server::FakeServer;
use crate::harness::{Host, PATIENCE, PROGRAM, script_command};

const DAY: i64 = 86_400;

/// What becomes of the disk once it is told to fail.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// The thread that writes dies.
    Panic,
    /// What is written may be on disk or not.
    Sync,
}

struct FailingDisk {
    bytes: Vec<u8>,
    failure: Failure,
    fails: Arc<AtomicBool>,
}

impl Disk for FailingDisk {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(Some(self.bytes.clone()).filter(|bytes| !bytes.is_empty()))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match (self.fails.load(Ordering::SeqCst), self.failure) {
            (false, _) => Ok(()),
            (true, Failure::Panic) => panic!("the writer dies, as the test wants it"),
            (true, Failure::Sync) => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes.truncate(usize::try_from(bytes).unwrap());
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes = bytes.to_vec();
        Ok(())
    }

    fn set_aside(&mut self) -> io::Result<()> {
        self.bytes.clear();
        Ok(())
    }
}

#[test]
fn an_agent_whose_journal_cannot_be_written_any_more_ends_with_an_error() {
    for failure in [Failure::Panic, Failure::Sync] {
        within(async {
            let (server, host) = (FakeServer::start().await, Host::new());
            enroll(&server, &host, DAY).await;
            let fails = Arc::new(AtomicBool::new(false));
            let disk = FailingDisk {
                bytes: Vec::new(),
                failure,
                fails: Arc::clone(&fails),
            };
            let (journal, _) = JournalStore::open_on(Box::new(disk), Uuid::nil(), 0).unwrap();
            let config = host.config.clone();
            let (_stop, stopped) = watch::channel(false);
            let agent = tokio::spawn(async move {
                let launcher = Launcher::of(PROGRAM.into());
                agent::run_with(journal, &config, launcher, stopped).await
            });
            let mut link = server.link().await;
            link.welcome().await;
            fails.store(true, Ordering::SeqCst);
            link.send(&ServerFrame::Command(script_command("true")))
                .await;
            let ended = timeout(PATIENCE, agent).await;
            let ended = ended.unwrap_or_else(|_| panic!("it lives on: {failure:?}"));
            let error = ended
                .unwrap()
                .expect_err("it has nothing to be content with");
            assert!(matches!(error, AgentError::JournalLost(_)), "{error}");
            assert!(error.to_string().contains("journal"), "{error}");
        });
    }
}
