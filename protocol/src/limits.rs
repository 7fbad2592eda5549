//! Limits that both sides enforce. Each says where its number comes from.

/// Largest WebSocket frame either side accepts; large enough for an encoded operation plus its envelope.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest encoded operation: three quarters of a frame, so that the envelope always fits.
pub const OPERATION_BYTES_MAX: usize = 768 * 1024;
/// One secret: a key with its chain of certificates, several times.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// All secrets of one command: in base64 (4/3) they fit a frame beside the largest operation.
pub const SECRETS_BYTES_MAX: usize = 128 * 1024;
/// Different secrets one command may name.
pub const SECRETS_MAX: usize = 32;
/// Output up to this size travels and is stored inside the result itself; most scripts print less.
pub const OUTPUT_INLINE_BYTES_MAX: usize = 64 * 1024;
/// First and last bytes of each stream kept for a result; the middle is dropped.
pub const OUTPUT_HEAD_BYTES_MAX: usize = 1024 * 1024;
pub const OUTPUT_TAIL_BYTES_MAX: usize = 1024 * 1024;
/// One part of a large output: base64 of it (4/3) still fits a frame comfortably.
pub const OUTPUT_PART_BYTES_MAX: usize = 256 * 1024;
/// A word that this side does not know is kept up to this length; half as long again as the longest one we know.
pub const WORD_BYTES_MAX: usize = 31;
/// The reason in a WebSocket close frame: a control frame holds 125 bytes, and two are the code (RFC 6455, 5.5).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;
/// An agent must start a command within this time of receiving it.
pub const START_WITHIN_MS: u64 = 60_000;
/// A silent peer is dropped within this time.
pub const PEER_SILENT_SECONDS_MAX: u64 = 45;
/// A host is offline after this silence: three missed heartbeats of 10 s and some slack.
pub const OFFLINE_AFTER_SECONDS: u64 = 35;
pub const HEARTBEAT_SECONDS_DEFAULT: u64 = 10;
/// Steps in one deployment plan.
pub const PLAN_STEPS_MAX: usize = 1_000;
/// Packages in one operation; far above real use, below an argv that the kernel refuses.
pub const PACKAGES_MAX: usize = 200;
/// Why something is done: room for a change ticket and a sentence; it is shown in lists and kept in the audit log.
pub const REASON_CHARS_MAX: usize = 500;
/// What a machine says to its users before it goes down: as much as a reason.
pub const POWER_MESSAGE_CHARS_MAX: usize = 500;
/// The name of a step of a plan: one line of a list.
pub const STEP_NAME_CHARS_MAX: usize = 120;
/// A run may take at most a week.
pub const TIMEOUT_SECONDS_MAX: u64 = 7 * 24 * 3600;
pub const TIMEOUT_SECONDS_DEFAULT: u64 = 3600;
/// A command may wait for its host at most 30 days.
pub const EXPIRES_IN_SECONDS_MAX: u64 = 30 * 24 * 3600;
pub const EXPIRES_IN_SECONDS_DEFAULT: u64 = 86_400;
/// Longest fact string kept; longer ones are cut (facts come from hosts we do not trust).
pub const FACT_CHARS_MAX: usize = 512;
/// Most entries kept of a fact list (addresses, tags) or map (attributes).
pub const FACT_ENTRIES_MAX: usize = 64;
/// Virtual machines of one host: several times what the largest ones run.
pub const VMS_ENTRIES_MAX: usize = 4_096;
/// What a virtual machine is called: twice the longest name that hypervisors give, four times a UUID.
pub const VM_ID_BYTES_MAX: usize = 128;
/// All of them as a frame holds them: three quarters of one.
pub const VMS_BYTES_MAX: usize = 768 * 1024;
/// A result's details: a thousand packages or steps with a sentence each.
pub const DETAILS_BYTES_MAX: usize = 256 * 1024;
/// Longest time one health check may add to a run: the soak and every try together. A host that is not well after a
/// day is not well.
pub const HEALTH_CHECK_SECONDS_MAX: u64 = 24 * 3600;
