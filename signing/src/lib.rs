//! Vendor keys, module signatures and licences: the formats and their checks, shared by the server (which verifies)
//! and the operators' command line (which signs and issues). Pure: bytes in, bytes or facts out; files, clocks and
//! what a licence means for a route are elsewhere.

pub mod audit_head;
pub mod keys;
pub mod library;
pub mod license;
pub mod signature;

pub use audit_head::{AuditHead, HeadError};
pub use keys::{KeyError, KeyId, PublicKey, SecretKey};
pub use library::{LibraryError, read_info};
pub use license::{Claims, LicenseError};
pub use signature::{ModuleStatement, SignatureError, sign_module, verify_module};
