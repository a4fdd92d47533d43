//! Roles, and the one table of who may call what.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Submit transactions, and follow how far they have come.
    Submit,
    /// Follow the batch stream, which holds everything; report checkpoints and cosign them. Provers and validators.
    Follow,
    /// Read every record and every proof, details of decisions included.
    Audit,
    /// See how the processes do: status and metrics. No records.
    Operate,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Submit, Self::Follow, Self::Audit, Self::Operate];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Follow => "follow",
            Self::Audit => "audit",
            Self::Operate => "operate",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("expected submit, follow, audit or operate, found {text:?}"))
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);
    /// Every role.
    pub const ALL: Self = Self::of(&Role::ALL);

    /// These roles.
    #[must_use]
    pub const fn of(roles: &[Role]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < roles.len() {
            set |= 1 << roles[index] as u8;
            index += 1;
        }
        Self(set)
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is one that both have.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.meets(Self::of(&[*role])))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(" or "))
    }
}

/// A method, who may call it, and how.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The gRPC path.
    pub path: &'static str,
    /// Any of these may call it, about everybody.
    pub roles: Roles,
    /// Whether an account may call it about itself, by a signed query alone.
    pub by_account: bool,
    /// Bytes of one request message.
    pub max_message: usize,
}

/// Bytes of a request that only names something.
const QUESTION: usize = 4 * 1024;
/// Bytes of a checkpoint with all its cosignatures, or of a cosignature.
const NOTE: usize = 64 * 1024;
/// Bytes of one transaction: twice the largest body, so that one that is a little too long hears by how much.
pub const MAX_SUBMISSION_BYTES: usize = 2 * assent_core::limits::MAX_BODY_BYTES;
/// Bytes of SubmitMany, as gRPC libraries take by default.
pub const MAX_MANY_BYTES: usize = 4 * 1024 * 1024;

const ANY: Roles = Roles::ALL;
const SUBMIT: Roles = Roles::of(&[Role::Submit]);
const FOLLOW: Roles = Roles::of(&[Role::Follow]);
const AUDIT: Roles = Roles::of(&[Role::Audit]);
const OPERATE: Roles = Roles::of(&[Role::Operate]);
const TIERS: Roles = Roles::of(&[Role::Submit, Role::Audit, Role::Operate]);

macro_rules! methods {
    ($($path:literal, $roles:expr, $by_account:literal, $max:expr;)*) => {
        &[$(Method {
            path: $path, roles: $roles, by_account: $by_account, max_message: $max,
        }),*]
    };
}

/// Every method that is served: path, roles, by the account itself, bytes of a request. What is not here is not served.
/// A test compares it with what reflection lists; `docs/operations.md` has the same table.
#[rustfmt::skip]
pub const METHODS: &[Method] = methods![
    "/assent.v1.SequencerService/Submit",              SUBMIT,  false, MAX_SUBMISSION_BYTES;
    "/assent.v1.SequencerService/SubmitMany",          SUBMIT,  false, MAX_MANY_BYTES;
    "/assent.v1.SequencerService/SubmitStream",        SUBMIT,  false, MAX_SUBMISSION_BYTES;
    "/assent.v1.SequencerService/GetTransaction",      AUDIT,   true,  QUESTION;
    "/assent.v1.SequencerService/StreamBatches",       FOLLOW,  false, QUESTION;
    "/assent.v1.SequencerService/ReportCheckpoint",    FOLLOW,  false, NOTE;
    "/assent.v1.SequencerService/GetLedger",           ANY,     true,  QUESTION;
    "/assent.v1.SequencerService/GetConsent",          AUDIT,   true,  QUESTION;
    "/assent.v1.SequencerService/GetAccount",          AUDIT,   true,  QUESTION;
    "/assent.v1.SequencerService/GetSequencerStatus",  OPERATE, false, QUESTION;
    "/assent.v1.ProverService/GetTier",                TIERS,   true,  QUESTION;
    "/assent.v1.ProverService/WatchTier",              TIERS,   true,  QUESTION;
    "/assent.v1.ProverService/GetBundle",              AUDIT,   true,  QUESTION;
    "/assent.v1.ProverService/GetCheckpoint",          ANY,     true,  QUESTION;
    "/assent.v1.ProverService/GetConsistencyProof",    ANY,     true,  QUESTION;
    "/assent.v1.ProverService/GetBatchRecord",         ANY,     true,  QUESTION;
    "/assent.v1.ProverService/GetDecisionProof",       AUDIT,   true,  QUESTION;
    "/assent.v1.ProverService/GetConsentProof",        AUDIT,   true,  QUESTION;
    "/assent.v1.ProverService/GetHistoryProof",        AUDIT,   true,  QUESTION;
    "/assent.v1.ProverService/AddCosignature",         FOLLOW,  false, NOTE;
    "/assent.v1.ProverService/GetProverStatus",        OPERATE, false, QUESTION;
    "/grpc.health.v1.Health/Check",                    ANY,     false, QUESTION;
    "/grpc.health.v1.Health/Watch",                    ANY,     false, QUESTION;
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", ANY, false, QUESTION;
];

impl Method {
    /// The method at a path.
    #[must_use]
    pub fn at(path: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.path == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written_and_paths_are_there_once() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert!(Roles::ALL.meets(Roles::of(&[role])));
            assert!(!Roles::NONE.meets(Roles::of(&[role])));
        }
        assert!("Submit".parse::<Role>().is_err());
        assert_eq!(Roles::of(&[Role::Submit]).and(Roles::of(&[Role::Audit])).to_string(), "submit or audit");
        let mut paths: Vec<_> = METHODS.iter().map(|method| method.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), METHODS.len());
    }
}
