//! Which of the machines that have had a host's identity is the host: what an operator's decision, or a new enrollment,
//! does to what is stored.

use fleetwright_protocol::HostId;

use super::host::Host;
use super::sessions::{Conflict, Keep, decide_keep};
use super::store::sessions as stored;
use crate::db::{DbError, Tx};

/// Makes one of two machines the host, if that is not decided so already: stores it, and puts its certificate into
/// `host`, which the caller stores. Returns what they were.
pub(super) fn keep_in(
    tx: &mut Tx<'_>,
    host: &mut Host,
    keep: Keep,
) -> Result<Option<Conflict>, DbError> {
    let Some(found) = stored::standing_in(tx, host.id)? else {
        return Ok(None);
    };
    let Some((decided, issued)) = decide_keep(&found.standing, keep) else {
        return Ok(None);
    };
    stored::save_in(tx, host.id, &decided)?;
    host.identity.current = issued;
    host.identity.next = None;
    Ok(decided.conflict)
}

/// The same in favour of the machine that was known before, where nobody has decided yet. Returns whether it was so.
pub(super) fn keep_known_in(tx: &mut Tx<'_>, host: &mut Host) -> Result<bool, DbError> {
    let found = stored::standing_in(tx, host.id)?;
    let conflict = found.and_then(|found| found.standing.conflict);
    let is_open = conflict.is_some_and(|conflict| conflict.kept.is_none());
    Ok(is_open && keep_in(tx, host, Keep::Earlier)?.is_some())
}

/// Of a host that is locked once more, and not because of the two machines that somebody has decided on: whoever unlocks
/// it must not choose between those.
pub(super) fn forget_decided_in(tx: &mut Tx<'_>, id: HostId) -> Result<(), DbError> {
    let Some(found) = stored::standing_in(tx, id)? else {
        return Ok(());
    };
    let mut standing = found.standing;
    let is_decided = |conflict: &mut Conflict| conflict.kept.is_some();
    match standing.conflict.take_if(is_decided) {
        Some(_) => stored::save_in(tx, id, &standing),
        None => Ok(()),
    }
}

/// Of a host that enrolls anew. Returns the generation that its certificate must be above of.
pub(super) fn begin_anew_in(tx: &mut Tx<'_>, id: HostId) -> Result<i64, DbError> {
    let Some(found) = stored::standing_in(tx, id)? else {
        return Ok(0);
    };
    let floor = found.standing.generation_floor();
    stored::save_in(tx, id, &found.standing.begun_anew())?;
    Ok(floor)
}
