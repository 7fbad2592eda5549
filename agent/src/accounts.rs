//! Accounts and groups by name, as the machine's name service knows them. Calls may block on a directory server.
#![expect(
    unsafe_code,
    reason = "the name service (getpwnam_r and its kin) has no safe form"
)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;

use crate::supervisor::spec::AccountIds;

/// An account to run something as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub home: String,
    pub ids: AccountIds,
}

/// A name service entry is below this even with a group of thousands; the calls fail with ERANGE above it.
const ENTRY_BYTES_MAX: usize = 1024 * 1024;
/// The kernel's NGROUPS_MAX.
const GROUPS_MAX: i32 = 65_536;

/// The account of this name; `None` if there is none.
pub fn account(name: &str) -> io::Result<Option<Account>> {
    let Ok(text) = CString::new(name) else {
        return Ok(None);
    };
    look_up(|buffer, result| {
        let mut entry = MaybeUninit::<libc::passwd>::zeroed();
        // SAFETY: all pointers are to live memory of the stated size; `result` is null or points to `entry`.
        let code = unsafe {
            libc::getpwnam_r(
                text.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                result,
            )
        };
        (code, entry)
    })?
    .map(|(entry, _buffer)| account_of(&entry))
    .transpose()
}

/// The account this process runs as; a bare number has no name.
pub fn own_account() -> io::Result<Account> {
    let user = rustix::process::geteuid().as_raw();
    let found = look_up(|buffer, result| {
        let mut entry = MaybeUninit::<libc::passwd>::zeroed();
        // SAFETY: as in `account`.
        let code = unsafe {
            libc::getpwuid_r(
                user,
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                result,
            )
        };
        (code, entry)
    })?;
    match found {
        Some((entry, _buffer)) => account_of(&entry),
        None => Ok(Account {
            name: user.to_string(),
            home: "/".to_owned(),
            ids: AccountIds {
                user,
                group: rustix::process::getegid().as_raw(),
                groups: Vec::new(),
            },
        }),
    }
}

/// This host's own list of accounts, as text; see passwd(5). Asks nobody else.
pub fn local_list() -> String {
    let bytes = std::fs::read("/etc/passwd").unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The number of the account of this name in such a list.
pub fn number_in(list: &str, name: &str) -> Option<u32> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        fields.nth(1)?.parse().ok()
    })
}

/// The number of the group of this name; `None` if there is none.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let Ok(text) = CString::new(name) else {
        return Ok(None);
    };
    let found = look_up(|buffer, result| {
        let mut entry = MaybeUninit::<libc::group>::zeroed();
        // SAFETY: as in `account`.
        let code = unsafe {
            libc::getgrnam_r(
                text.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                result,
            )
        };
        (code, entry)
    })?;
    Ok(found.map(|(entry, _buffer)| entry.gr_gid))
}

/// Whether this process may act as others.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Calls with ever larger buffers. The entry's texts lie in the buffer, so both are returned.
fn look_up<T>(
    mut call: impl FnMut(&mut Vec<u8>, *mut *mut T) -> (i32, MaybeUninit<T>),
) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0; size];
        let mut result = std::ptr::null_mut();
        let (code, entry) = call(&mut buffer, &raw mut result);
        match code {
            // SAFETY: a result other than null says that the entry was filled in.
            0 if !result.is_null() => return Ok(Some((unsafe { entry.assume_init() }, buffer))),
            0 | libc::ENOENT | libc::ESRCH => return Ok(None),
            libc::ERANGE if size < ENTRY_BYTES_MAX => size *= 4,
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Only while the buffer of the entry lives.
fn account_of(entry: &libc::passwd) -> io::Result<Account> {
    // SAFETY: texts of a filled-in entry end in NUL and lie in the buffer, which the caller still holds.
    let (name, home) = unsafe { (CStr::from_ptr(entry.pw_name), CStr::from_ptr(entry.pw_dir)) };
    Ok(Account {
        name: name.to_string_lossy().into_owned(),
        home: home.to_string_lossy().into_owned(),
        ids: AccountIds {
            user: entry.pw_uid,
            group: entry.pw_gid,
            groups: groups_of(name, entry.pw_gid)?,
        },
    })
}

fn groups_of(name: &CStr, group: u32) -> io::Result<Vec<u32>> {
    let mut room = 64;
    loop {
        let mut groups = vec![0; usize::try_from(room).unwrap_or_default()];
        let mut count = room;
        // SAFETY: `groups` has `count` places, and `count` says how many were filled in.
        let done = unsafe {
            libc::getgrouplist(name.as_ptr(), group, groups.as_mut_ptr(), &raw mut count)
        };
        if done >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or_default());
            return Ok(groups);
        }
        if room >= GROUPS_MAX {
            return Err(io::Error::other("the account is in too many groups"));
        }
        room = count.max(room * 2).min(GROUPS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_list_have_their_numbers_and_may_share_one() {
        let list = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n+nis\nbroken:x\n";
        for (name, expected) in [
            ("root", Some(0)),
            ("toor", Some(0)),
            ("broken", None),
            ("roo", None),
            ("0", None),
        ] {
            assert_eq!(number_in(list, name), expected, "{name}");
        }
        assert_eq!(number_in(&local_list(), "root"), Some(0));
    }

    #[test]
    fn root_is_known_and_nonsense_is_not() {
        let root = account("root").unwrap().unwrap();
        assert_eq!((root.ids.user, root.ids.group), (0, 0));
        assert!(root.ids.groups.contains(&0));
        assert_eq!(account("no-such-account-here").unwrap(), None);
        assert_eq!(group("root").unwrap(), Some(0));
        assert_eq!(group("no-such-group-here").unwrap(), None);
        assert_eq!(
            own_account().unwrap().ids.user,
            rustix::process::geteuid().as_raw()
        );
    }
}
