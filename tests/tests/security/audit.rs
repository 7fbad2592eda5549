//! The audit log: what was changed, removed or cut off at its beginning is found; failed sign-ins are in it.
