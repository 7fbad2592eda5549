//! The simulated disk under a journal: it loses what was not synced when the power is cut, tears the last write, fills
//! up and fails. How a journal writes to it is in `open_plate`.

use crate::seed::Choices;

/// What is on it, and what is wrong with it.
pub struct Plate {
    pub(super) choices: Choices,
    pub(super) content: Option<Vec<u8>>,
    /// So many bytes survive a power cut for certain.
    pub(super) synced: usize,
    /// What was cut off since the last sync, and where: a power cut may bring it back.
    pub(super) cut_off: Option<(usize, Vec<u8>)>,
    /// No room for runs; records still fit.
    pub leaves_no_room: bool,
    /// No room for records either.
    pub is_full: bool,
    /// The next syncs fail.
    pub fails_sync: bool,
    /// The agent is stopped in the middle of the write after so many.
    pub strike_after: Option<u32>,
    pub(super) struck: bool,
}

impl Plate {
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
