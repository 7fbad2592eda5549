//! Touches files with another account's rights. File system credentials belong to a thread, so the work runs on one of
//! its own, which ends with them.
#![expect(
    unsafe_code,
    reason = "setfsuid, setfsgid and a per-thread setgroups have no safe form"
)]

use std::io;

use crate::supervisor::spec::AccountIds;

/// Runs `work` with the rights of the account. Needs root.
pub fn acting_as<T: Send>(account: &AccountIds, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("as-account".to_owned())
            .spawn_scoped(scope, || become_account(account).map(|()| work()))?;
        thread
            .join()
            .map_err(|_| io::Error::other("the work was aborted"))?
    })
}

fn become_account(account: &AccountIds) -> io::Result<()> {
    // SAFETY: the slice outlives the call. The raw call changes this thread only, which the C library's would not.
    let groups = unsafe {
        libc::syscall(
            libc::SYS_setgroups,
            account.groups.len(),
            account.groups.as_ptr(),
        )
    };
    if groups != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: calls on numbers. They return the value before, never an error: asking with -1 changes nothing and tells
    // what is in force. Leaving user 0 also drops the capabilities that bypass file permissions.
    let (group, user) = unsafe {
        libc::setfsgid(account.group);
        libc::setfsuid(account.user);
        (libc::setfsgid(u32::MAX), libc::setfsuid(u32::MAX))
    };
    let in_force =
        i64::from(group) == i64::from(account.group) && i64::from(user) == i64::from(account.user);
    if in_force {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}
