//! The numbered version of everything that decides.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::{
    Hash,
    codec::{Encoder, Layout},
};

/// Code system of purposes of use.
pub const PURPOSE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
/// Code system of sensitivity labels.
pub const SENSITIVITY_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
/// Code system of confidentiality labels.
pub const CONFIDENTIALITY_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

/// The files of ruleset 1: its hierarchies, by hash part of the ruleset's own hash.
const V1: [(&str, &str); 3] = [
    (PURPOSE_SYSTEM, include_str!("../ruleset/v1/purpose-of-use.tsv")),
    (SENSITIVITY_SYSTEM, include_str!("../ruleset/v1/sensitivity.tsv")),
    (CONFIDENTIALITY_SYSTEM, include_str!("../ruleset/v1/confidentiality.tsv")),
];

/// A ruleset that this program does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RulesetError {
    /// No such number.
    #[error("ruleset {0} is unknown to this program, which has ruleset 1")]
    Unknown(u32),
    /// The number is known, the content differs.
    #[error("ruleset {number} has hash {expected}, this program's has {found}")]
    HashMismatch {
        /// Number.
        number: u32,
        /// Hash in the manifest.
        expected: String,
        /// Hash of ours.
        found: String,
    },
}

/// One numbered ruleset: the policy of [`crate::policy`] and the code hierarchies.
#[derive(Debug)]
pub struct Ruleset {
    number: u32,
    hash: Hash,
    /// For each code of a system: itself and all codes above it.
    above: BTreeMap<&'static str, BTreeMap<&'static str, BTreeSet<&'static str>>>,
}

impl Ruleset {
    /// The newest number, which new ledgers take.
    pub const NEWEST: u32 = 1;

    /// The ruleset with this number.
    ///
    /// # Errors
    /// [`RulesetError::Unknown`].
    pub fn numbered(number: u32) -> Result<Self, RulesetError> {
        if number != 1 {
            return Err(RulesetError::Unknown(number));
        }
        let mut above = BTreeMap::new();
        // Layout 0x1e: number, then for each hierarchy its system and the SHA-256 of its file.
        let mut encoder = Encoder::new(Layout::Ruleset).u32(number).u16(3);
        for (system, file) in V1 {
            above.insert(system, closure(file));
            encoder = encoder.short(system.as_bytes()).fixed(&crate::codec::sha256(file.as_bytes()));
        }
        Ok(Self { number, hash: encoder.sha256(), above })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its hash, which the manifest names.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether `code` is known in `system`. Codes of systems without a hierarchy here are not.
    #[must_use]
    pub fn knows(&self, system: &str, code: &str) -> bool {
        self.above.get(system).is_some_and(|codes| codes.contains_key(code))
    }

    /// Whether `code` is `ancestor` or below it. Outside the hierarchies only equal codes are.
    #[must_use]
    pub fn subsumes(&self, system: &str, ancestor: &str, code: &str) -> bool {
        ancestor == code
            || self
                .above
                .get(system)
                .and_then(|codes| codes.get(code))
                .is_some_and(|above| above.contains(ancestor))
    }

    /// The codes of a system, sorted.
    pub fn codes(&self, system: &str) -> impl Iterator<Item = &'static str> + '_ {
        self.above.get(system).into_iter().flat_map(|codes| codes.keys().copied())
    }
}

/// Each code of a hierarchy file with itself and all its ancestors; a code may have several parents.
fn closure(file: &'static str) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let parents: BTreeMap<&str, Vec<&str>> = file
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split('\t');
            Some((fields.next()?, fields.collect()))
        })
        .collect();
    parents
        .keys()
        .map(|code| {
            let (mut above, mut open) = (BTreeSet::new(), vec![*code]);
            while let Some(next) = open.pop() {
                if above.insert(next) {
                    open.extend(parents.get(next).into_iter().flatten());
                }
            }
            (*code, above)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_subsumed_along_the_published_hierarchies() {
        let ruleset = Ruleset::numbered(1).unwrap();
        assert_eq!(ruleset.codes(PURPOSE_SYSTEM).count(), 63);
        assert_eq!(ruleset.codes(SENSITIVITY_SYSTEM).count(), 49);
        assert!(ruleset.subsumes(PURPOSE_SYSTEM, "TREAT", "ETREAT"));
        assert!(ruleset.subsumes(PURPOSE_SYSTEM, "PurposeOfUse", "BTG"));
        assert!(ruleset.subsumes(SENSITIVITY_SYSTEM, "SUD", "OPIOIDUD"));
        assert!(!ruleset.subsumes(SENSITIVITY_SYSTEM, "OPIOIDUD", "SUD"));
        assert!(!ruleset.subsumes(PURPOSE_SYSTEM, "HPAYMT", "TREAT"));
        assert!(!ruleset.knows("http://loinc.org", "34133-9"));
        assert_eq!(Ruleset::numbered(2).unwrap_err(), RulesetError::Unknown(2));
    }
}
