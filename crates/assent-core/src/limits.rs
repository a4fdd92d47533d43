//! Every limit of the ledger's content, with its reason. What a chain may set lower stands in its genesis manifest.

/// Bytes of an encoded `TransactionBody`. A grant at all other limits takes about 40 KiB of provisions; anything longer
/// is no consent that a person could have meant, and would make a group's fsync slow for everyone in it.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Authorizations of a transaction: the sender's. Rules for several signers would raise it.
pub const MAX_AUTHORIZATIONS: usize = 1;
/// Bytes of a transaction's salt: 16 make an id unguessable; more than a hash's worth adds nothing.
pub const SALT_BYTES: std::ops::RangeInclusive<usize> = 16..=32;
/// Furthest that `expires_at` may lie ahead, in milliseconds: 7 days. Replay protection remembers ids that long.
pub const MAX_VALIDITY_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Subjects of one access request. Each is one decision to execute and one leaf to prove.
pub const MAX_SUBJECTS: usize = 32;
/// Classes of data in one scope or provision. With [`MAX_LABELS`] bounds the elementary questions of a request to 64.
pub const MAX_CLASSES: usize = 8;
/// Security labels in one scope or provision.
pub const MAX_LABELS: usize = 8;
/// Purposes in one provision.
pub const MAX_PURPOSES: usize = 16;
/// Actors in one provision.
pub const MAX_ACTORS: usize = 16;
/// Actions in one provision: as many as there are.
pub const MAX_ACTIONS: usize = 5;
/// Provisions in one consent, all levels together. HL7's largest example has 15.
pub const MAX_PROVISIONS: usize = 64;
/// Levels of provisions: the root and three levels of exceptions.
pub const MAX_PROVISION_DEPTH: usize = 4;
/// Bytes of a code system's URI.
pub const MAX_SYSTEM_BYTES: usize = 128;
/// Bytes of a code. FHIR's longest code in use here has 33.
pub const MAX_CODE_BYTES: usize = 64;
/// Consents of a subject that are granted and not revoked. Each decision reads them all.
pub const MAX_ACTIVE_CONSENTS: usize = 32;
/// Obligations of one decision. Where more would be needed the decision is a denial.
pub const MAX_OBLIGATIONS: usize = 32;
/// Transactions in one group, so that the first of them does not wait long for the last.
pub const MAX_GROUP_TRANSACTIONS: usize = 4096;
/// Entries in one batch that a manifest may allow. The batch tree of a proof is at most 16 levels high.
pub const MAX_BATCH_ENTRIES: u32 = 65_536;
/// Bytes of transactions in one batch that a manifest may allow: a batch travels as one message.
pub const MAX_BATCH_BYTES: u32 = 32 * 1024 * 1024;
/// Latest time of a group, in milliseconds since 1970: the end of the year 9999, the last that ISO 8601 writes in four digits.
/// No sum of a time and a limit overflows.
pub const MAX_TIME_MS: u64 = 253_402_300_799_999;
/// Bytes of a genesis manifest: its fixed fields and two short strings.
pub const MAX_MANIFEST_BYTES: usize = 1024;
