//! How rows are chained: each row's digest covers its own fields and the digest of the row before it. Pure.

use sha2::{Digest as _, Sha256};

use super::AuditContext;

pub type Digest = [u8; 32];

/// What the first row follows.
pub const GENESIS: Digest = [0; 32];

/// The digest of a row. Every field is written with its length, so no two rows share an encoding.
pub(super) fn digest(
    previous: &Digest,
    sequence: i64,
    at_us: i64,
    context: &AuditContext,
    entry: (&str, &str, &str, &str),
) -> Digest {
    let (action, target_kind, target_id, detail) = entry;
    let mut hash = Sha256::new();
    hash.update(b"fleetwright-audit-1");
    hash.update(previous);
    hash.update(sequence.to_be_bytes());
    hash.update(at_us.to_be_bytes());
    let tenant = context.tenant.as_deref();
    hash.update([u8::from(tenant.is_some())]);
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
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_text_between_fields_changes_the_digest() {
        let context = AuditContext::default();
        let one = digest(&GENESIS, 1, 0, &context, ("ab", "c", "d", "{}"));
        let other = digest(&GENESIS, 1, 0, &context, ("a", "bc", "d", "{}"));
        assert_ne!(one, other);
    }

    #[test]
    fn no_tenant_is_not_the_empty_tenant() {
        let none = AuditContext::default();
        let empty = AuditContext {
            tenant: Some(String::new()),
            ..AuditContext::default()
        };
        let fields = ("a", "b", "c", "{}");
        assert_ne!(
            digest(&GENESIS, 1, 0, &none, fields),
            digest(&GENESIS, 1, 0, &empty, fields)
        );
    }
}
