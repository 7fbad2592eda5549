//! The simulated disk as a journal has it open: the agent can be stopped in the middle of any write.

use std::io;

use fleetwright_agent::journal::Disk;

use super::computer::Computer;

/// A handle for one opening of the journal.
pub struct OpenPlate(Computer);

impl OpenPlate {
    pub fn of(computer: &Computer) -> Self {
        Self(computer.clone())
    }

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

impl Disk for OpenPlate {
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
