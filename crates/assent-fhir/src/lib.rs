//! A [Consent] of FHIR R4 (JSON) in, terms that a ledger enforces out, or a refusal that names the element and why.
//!
//! What is not understood is refused where leaving it out could widen the consent. What is left out is told, with the
//! reason why that is safe ([`Import::notes`]). The program that imports does not know who wrote the resource, so nothing
//! is guessed; where R4 is read in two ways, whoever imports names the reading ([`Profile`]).
//!
//! | element of [Consent] | becomes |
//! | --- | --- |
//! | `status`, `scope` | must be `active` and `patient-privacy` |
//! | `patient` | [`Import::subject`], by the [`ReferenceMap`] |
//! | `policyRule` | the default: OPTIN permits, OPTOUT denies; anything else, or none, is refused |
//! | `verification` | refused where `verified` is false |
//! | `implicitRules`, `modifierExtension` | refused ([extensibility]) |
//! | `text` | noted; refused where its [status] says that it holds more than the elements |
//! | `id`, `meta`, `language`, `contained`, `extension`, `identifier`, `category`, `dateTime`, `performer`, `organization`, `source[x]`, `policy` | noted |
//! | any other | refused |
//! | `provision` | as its [`Profile`] says |
//!
//! | element of [Consent.provision] | becomes |
//! | --- | --- |
//! | `type` | effect; required in nested provisions, not permitted in the root |
//! | `period` | the root's: validity of the consent; a nested one's: of that provision |
//! | `actor` | recipient (`PRCP`, `IRCP`) or custodian (`CST`); every other role is refused |
//! | `purpose` | purposes, of v3-ActReason and in the ruleset |
//! | `action` | actions, of [consentaction] |
//! | `class`, or `code` | classes; both in one provision are refused, for both must match |
//! | `securityLabel` | labels in the ruleset. A permit for a [confidentiality] is one for that or a lower one; a denial of one, and a permit for labels of two kinds, are refused as ambiguous |
//! | `dataPeriod` | data period; a start before 1970 is refused |
//! | `data` | refused: particular resources cannot be told from others of their class |
//! | `extension` | refused, also within these elements |
//! | `provision` | exceptions |
//!
//! An exception is refused where it cannot mean what it says: a permit within what is permitted (meant to narrow, it would
//! narrow nothing), one that covers all of its parent, and one that has nothing in common with it. A validity that ended
//! before the consent was given ([`Consent.dateTime`][Consent]) is refused, too: then the time of the data is meant.
//!
//! An OPTOUT denies what no provision of its consent permits. Across the consents of a subject deny overrides, so it also
//! denies what another consent permits; two of them, each with permits of its own, leave only what both permit.
//!
//! ```
//! use assent_fhir::{Profile, ReferenceMap, import};
//!
//! let map = ReferenceMap::from_toml("[references]\n")?;
//! let refused = import(br#"{ "resourceType": "Consent", "status": "draft" }"#, &map, Profile::Plain).unwrap_err();
//! assert_eq!((refused.path(), refused.reason()), ("Consent.status", "NOT_ACTIVE"));
//! # Ok::<(), assent_fhir::ReferenceMapError>(())
//! ```
//!
//! [Consent]: http://hl7.org/fhir/R4/consent.html
//! [Consent.provision]: http://hl7.org/fhir/R4/consent-definitions.html#Consent.provision
//! [confidentiality]: http://hl7.org/fhir/R4/consent-definitions.html#Consent.provision.securityLabel
//! [consentaction]: http://hl7.org/fhir/R4/codesystem-consent-action.html
//! [extensibility]: http://hl7.org/fhir/R4/extensibility.html#modifierExtension
//! [status]: http://hl7.org/fhir/R4/codesystem-narrative-status.html

mod codes;
mod date;
mod error;
mod json;
mod profile;
mod provision;
mod references;
mod resource;

pub use error::ImportError;
pub use profile::{Profile, UnknownProfile};
pub use references::{ReferenceMap, ReferenceMapError};
pub use resource::{Import, import};

/// Bytes of a resource that are read. HL7's largest example has 11 KB; a signed form as an attachment adds some 100 KiB.
pub const MAX_RESOURCE_BYTES: usize = 1024 * 1024;
