//! How rows are chained: each row's digest covers its own fields and the digest of the row before it, under the log's key.
//! Rows from before there was a key have a plain SHA-256. Pure.

use sha2::{Digest as _, Sha256};

use super::AuditContext;
use super::anchor::{Digest, MacInput};
use super::key::AuditKey;

/// Everything that a row's digest covers but the row before it.
#[derive(Clone, Copy)]
pub(super) struct Covered<'a> {
    pub sequence: i64,
    pub at_us: i64,
    pub context: &'a AuditContext,
    /// `action, target_kind, target_id, detail`.
    pub entry: (&'a str, &'a str, &'a str, &'a str),
}

/// The digest of a row under the key.
pub(super) fn keyed(key: &AuditKey, previous: &Digest, covered: Covered<'_>) -> Digest {
    key.mac(|input| {
        input(b"fleetwright-audit-2");
        feed(input, previous, covered);
    })
}

/// The digest of a row from before there was a key.
pub(super) fn plain(previous: &Digest, covered: Covered<'_>) -> Digest {
    let mut hash = Sha256::new();
    hash.update(b"fleetwright-audit-1");
    feed(&mut |bytes| hash.update(bytes), previous, covered);
    hash.finalize().into()
}

/// Every field with its length, so that no two rows share an encoding.
fn feed(input: &mut MacInput<'_>, previous: &Digest, covered: Covered<'_>) {
    let Covered {
        sequence,
        at_us,
        context,
        entry: (action, target_kind, target_id, detail),
    } = covered;
    input(previous);
    input(&sequence.to_be_bytes());
    input(&at_us.to_be_bytes());
    let tenant = context.tenant.as_deref();
    input(&[u8::from(tenant.is_some())]);
    for field in [
        context.request_id.as_str(),
        &context.principal,
        &context.principal_name,
        tenant.unwrap_or_default(),
        &context.address,
        action,
        target_kind,
        target_id,
        detail,
    ] {
        input(&(field.len() as u64).to_be_bytes());
        input(field.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::GENESIS;
    use crate::audit::key::tests::key;

    /// With a key and without, both have to tell rows apart.
    fn digests(context: &AuditContext, entry: (&str, &str, &str, &str)) -> [Digest; 2] {
        let covered = Covered {
            sequence: 1,
            at_us: 0,
            context,
            entry,
        };
        [plain(&GENESIS, covered), keyed(&key(1), &GENESIS, covered)]
    }

    #[test]
    fn moving_text_between_fields_changes_the_digest() {
        let context = AuditContext::default();
        let one = digests(&context, ("ab", "c", "d", "{}"));
        let other = digests(&context, ("a", "bc", "d", "{}"));
        assert!(one.iter().zip(&other).all(|(one, other)| one != other));
    }

    #[test]
    fn no_tenant_is_not_the_empty_tenant() {
        let none = AuditContext::default();
        let empty = AuditContext {
            tenant: Some(String::new()),
            ..AuditContext::default()
        };
        let fields = ("a", "b", "c", "{}");
        let (one, other) = (digests(&none, fields), digests(&empty, fields));
        assert!(one.iter().zip(&other).all(|(one, other)| one != other));
    }

    #[test]
    fn without_the_key_no_digest_is_made() {
        let context = AuditContext::default();
        let covered = Covered {
            sequence: 1,
            at_us: 0,
            context: &context,
            entry: ("a", "b", "c", "{}"),
        };
        let mine = keyed(&key(1), &GENESIS, covered);
        assert_ne!(mine, keyed(&key(2), &GENESIS, covered));
        assert_ne!(mine, plain(&GENESIS, covered));
    }
}
