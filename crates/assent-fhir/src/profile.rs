//! How a root provision with constraints is read.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// How the root provision is read. R4 does not settle it, and HL7's own examples use two readings, so whoever imports says
/// which one the resource's author uses. Taking the wrong one can turn a consent into its opposite.
///
/// | root provision | [`Plain`](Self::Plain) | [`RootException`](Self::RootException) | [`RootScope`](Self::RootScope) |
/// | --- | --- | --- | --- |
/// | no constraint | base policy; nested: exceptions | the same | the same |
/// | `period` | validity of the consent | refused | validity of the consent |
/// | other constraints | refused | an exception: the opposite of the base policy there, the base policy elsewhere | the base policy there, nothing said elsewhere |
/// | `type` | refused | accepted if it is the opposite of the base policy | accepted if it is the base policy's |
/// | untyped, and a permit by this reading | – | must name a recipient | must name a recipient |
/// | nested provisions | typed | typed, exceptions to the root | typed, exceptions to the root |
///
/// The reading of [`RootScope`](Self::RootScope) is that of IHE's Privacy Consent on FHIR, where "restriction at the root
/// `.provision` apply to the whole Consent" and nested ones are exceptions
/// ([Intermediate Consent](https://profiles.ihe.net/ITI/PCF/StructureDefinition-IHE.PCF.consentIntermediate.html)). It is
/// not named after it: there the base policy is a document named by `policy.uri`, which no program can read, and
/// `policyRule` is not used, so a resource of that profile is refused for want of a base policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Only what is not ambiguous.
    #[default]
    Plain,
    /// A constrained root is an exception to the base policy.
    RootException,
    /// A constrained root is the scope of the whole consent.
    RootScope,
}

/// Not the name of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected plain, root-exception or root-scope, found {0:?}")]
pub struct UnknownProfile(String);

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 3] = [Self::Plain, Self::RootException, Self::RootScope];

    /// The name by which it is asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::RootException => "root-exception",
            Self::RootScope => "root-scope",
        }
    }

    /// What it makes of a root with constraints.
    #[must_use]
    pub fn reading(self) -> &'static str {
        match self {
            Self::Plain => "a root with constraints is refused",
            Self::RootException => "an exception to the base policy, which holds elsewhere",
            Self::RootScope => "the scope of the consent, which says nothing elsewhere",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == text)
            .ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}
