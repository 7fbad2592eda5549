//! The simulated disk under a journal: it loses what was not synced when the power is cut, tears the last write, fills
//! up, fails, and can stop the agent in the middle of any write.

use std::io;

use fleetwright_agent::journal::Disk;

use super::computer::Computer;
use crate::seed::Choices;

/// A handle for one opening of the journal.
pub struct Plate(pub(super) Computer);

/// What is on it.
pub struct PlateState {
    choices: Choices,
    content: Option<Vec<u8>>,
    /// So many bytes survive a power cut for certain.
    synced: usize,
    /// What was cut off since the last sync, and where: a power cut may bring it back.
    cut_off: Option<(usize, Vec<u8>)>,
    /// No room for runs; records still fit.
    pub leaves_no_room: bool,
    /// No room for records either.
    pub is_full: bool,
    /// The next syncs fail.
    pub fails_sync: bool,
    /// The agent is stopped in the middle of the write after so many.
    pub strike_after: Option<u32>,
    struck: bool,
}

impl PlateState {
    pub fn new(choices: Choices) -> Self {
        Self {
            choices,
            content: None,
            synced: 0,
            cut_off: None,
            leaves_no_room: false,
            is_full: false,
            fails_sync: false,
            strike_after: None,
            struck: false,
        }
    }

    pub fn is_struck(&self) -> bool {
        self.struck
    }

    /// A new agent begins.
    pub fn lift_strike(&mut self) {
        self.struck = false;
        self.strike_after = None;
    }

    pub fn power_cut(&mut self) {
        let Some(content) = &mut self.content else {
            return;
        };
        if let Some((at, rest)) = self.cut_off.take()
            && content.len() == at
            && self.choices.one_in(2)
        {
            content.extend(rest);
        }
        let unsynced = content.len() - self.synced.min(content.len());
        let kept = self.choices.below(unsynced as u64 + 1) as usize;
        let lost = unsynced - kept;
        content.truncate(self.synced + kept);
        // The length may be on disk before the bytes are.
        if lost > 0 && self.choices.one_in(4) {
            let zeros = self.choices.below(lost as u64 + 1) as usize;
            content.resize(content.len() + zeros, 0);
        }
        self.synced = content.len();
    }

    pub fn wipe(&mut self) {
        self.content = None;
        self.synced = 0;
        self.cut_off = None;
    }

    pub fn bytes(&self) -> usize {
        self.content.as_ref().map_or(0, Vec::len)
    }
}

impl Plate {
    /// Counts a write. `false`: the agent is stopped before it is whole.
    fn goes_on(&self) -> io::Result<bool> {
        let mut inside = self.0.inside();
        let plate = &mut inside.plate;
        if plate.struck {
            return Err(io::Error::other("the agent is no more"));
        }
        match &mut plate.strike_after {
            None => Ok(true),
            Some(0) => {
                inside.note_strike();
                inside.plate.struck = true;
                Ok(false)
            }
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
        }
    }
}

fn stopped<T>() -> io::Result<T> {
    Err(io::Error::other("the agent is stopped"))
}

impl Disk for Plate {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.inside().plate.content.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let whole = self.goes_on()?;
        let mut inside = self.0.inside();
        let plate = &mut inside.plate;
        let part = plate.choices.below(bytes.len() as u64 + 1) as usize;
        let (full, content) = (plate.is_full, plate.content.get_or_insert_default());
        if !whole {
            content.extend_from_slice(&bytes[..part]);
            return stopped();
        }
        if full {
            content.extend_from_slice(&bytes[..part.min(bytes.len() / 2)]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.goes_on()? {
            return stopped();
        }
        let plate = &mut self.0.inside().plate;
        if plate.fails_sync {
            return Err(io::Error::other("the disk does not answer"));
        }
        plate.synced = plate.bytes();
        plate.cut_off = None;
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        if !self.goes_on()? {
            return stopped();
        }
        let plate = &mut self.0.inside().plate;
        if let Some(content) = &mut plate.content {
            let at = content.len().min(bytes as usize);
            let rest = content.split_off(at);
            if !rest.is_empty() {
                plate.cut_off = Some((at, rest));
            }
            plate.synced = plate.synced.min(content.len());
        }
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.goes_on()? {
            return stopped();
        }
        let plate = &mut self.0.inside().plate;
        if plate.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        plate.content = Some(bytes.to_vec());
        plate.synced = bytes.len();
        Ok(())
    }

    fn set_aside(&mut self) -> io::Result<()> {
        self.0.inside().plate.wipe();
        Ok(())
    }
}
