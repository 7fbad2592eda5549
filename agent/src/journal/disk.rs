//! Where the journal's bytes are kept. The real place is a file in the agent's folder; a simulation has one that loses
//! what was not synced. Calls block.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::private_file;

/// One journal's bytes.
pub trait Disk: Send {
    /// All of it; `None` if there is no journal yet.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// Adds at the end. What an error leaves there is unknown; see [`Disk::cut`].
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything appended so far survives a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Drops whatever follows the first `bytes`.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
    /// Replaces all of it, atomically and synced.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Keeps a damaged journal for a person to look at; there is none afterwards.
    fn set_aside(&mut self) -> io::Result<()>;
}

/// The file `journal` in a folder.
pub struct FolderDisk {
    directory: PathBuf,
    /// Open for appending once there is one.
    file: Option<File>,
}

impl FolderDisk {
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            file: None,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("journal")
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let path = self.path();
        match &mut self.file {
            Some(file) => Ok(file),
            empty @ None => Ok(empty.insert(append_handle(&path)?)),
        }
    }
}

impl Disk for FolderDisk {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match File::open(self.path()) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(bytes)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Before the file is replaced, so that no later append goes to the old one whatever fails.
        self.file = None;
        private_file::write(&self.path(), bytes)?;
        self.file().map(drop)
    }

    fn set_aside(&mut self) -> io::Result<()> {
        self.file = None;
        std::fs::rename(self.path(), self.directory.join("journal.damaged"))
    }
}

fn append_handle(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).mode(0o600).open(path)
}
