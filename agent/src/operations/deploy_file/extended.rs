//! Extended attributes of files: access control lists, labels of security modules, and what people note there.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

/// Each name with its value; see xattr(7).
pub type Extended = BTreeMap<String, Vec<u8>>;

/// The access control list beyond owner, group and others: acl(5).
const ACL: &str = "system.posix_acl_access";
const SECURITY: &str = "security.";
/// Said of the content it stands on: new content does not inherit it, as it does not inherit a set-user-id bit.
const OF_CONTENT: [&str; 3] = ["security.capability", "security.ima", "security.evm"];
/// The kernel's own bounds, by which one look always has room.
const LIST_BYTES_MAX: usize = 64 * 1024;
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// All of these kinds that may be read; none where the file system has none. What file systems show of themselves under
/// other names is theirs to make.
pub fn read(file: BorrowedFd<'_>) -> Result<Extended, Errno> {
    let mut list = vec![0; LIST_BYTES_MAX];
    let bytes = match flistxattr(file, list.as_mut_slice()) {
        Ok(bytes) => bytes,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Extended::new()),
        Err(error) => return Err(error),
    };
    let mut value = vec![0; VALUE_BYTES_MAX];
    let mut found = Extended::new();
    for name in list
        .get(..bytes)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
    {
        let Some(name) = str::from_utf8(name).ok().filter(|name| is_carried(name)) else {
            continue;
        };
        match fgetxattr(file, name, value.as_mut_slice()) {
            Ok(bytes) => {
                let value = value.get(..bytes).unwrap_or_default().to_vec();
                found.insert(name.to_owned(), value);
            }
            // Not for this account, or gone in between.
            Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// One of a security module, or of the kernel itself.
pub fn is_label(name: &str) -> bool {
    name.starts_with(SECURITY)
}

fn is_carried(name: &str) -> bool {
    name == ACL || name.starts_with("user.") || is_label(name)
}

/// What goes over to new content under the same name.
pub fn of_new_content(mut old: Extended) -> Extended {
    old.retain(|name, _| !OF_CONTENT.contains(&name.as_str()));
    old
}

/// Makes them those of the file: an access control list that the folder has given it goes if it is not among them. What
/// only the kernel or a privileged account may set is left out where that is refused. The error names the attribute.
pub fn write(file: BorrowedFd<'_>, wanted: &Extended) -> Result<(), (String, Errno)> {
    if !wanted.contains_key(ACL) {
        match fremovexattr(file, ACL) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => {}
            Err(error) => return Err((ACL.to_owned(), error)),
        }
    }
    for (name, value) in wanted {
        let is_privileged = is_label(name);
        match fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL) if is_privileged => {}
            Err(error) => return Err((name.clone(), error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_list_that_is_not_wanted_goes() {
        let file = tempfile::tempfile().unwrap();
        let wanted = super::super::tests::with_acl();
        if !super::super::tests::has_extended(&file) {
            return;
        }
        write(file.as_fd(), &wanted).unwrap();
        let read_back = |file: &File| {
            let mut found = read(file.as_fd()).unwrap();
            found.retain(|name, _| !name.starts_with("security."));
            found
        };
        assert_eq!(read_back(&file), wanted);
        let mut less = wanted.clone();
        less.remove(ACL);
        write(file.as_fd(), &less).unwrap();
        assert_eq!(read_back(&file), less);
        write(file.as_fd(), &wanted).unwrap();
        assert_eq!(read_back(&file), wanted);
    }

    #[test]
    fn new_content_inherits_no_capabilities() {
        let old = Extended::from([
            ("security.capability".to_owned(), vec![1]),
            ("security.selinux".to_owned(), vec![2]),
            (ACL.to_owned(), vec![3]),
            ("user.note".to_owned(), vec![4]),
        ]);
        let names: Vec<String> = of_new_content(old).into_keys().collect();
        assert_eq!(names, ["security.selinux", ACL, "user.note"]);
    }
}
