//! Why a resource is refused.

use thiserror::Error;

/// Why a Consent is not imported. Each names the element by its path, in the manner of FHIRPath.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// More bytes than [`crate::MAX_RESOURCE_BYTES`].
    #[error("Consent: {found} bytes, at most {limit} are read")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What was found.
        found: usize,
    },
    /// Not JSON.
    #[error("Consent: not JSON: {problem}")]
    Json {
        /// What the parser says.
        problem: String,
    },
    /// A key occurs twice in one object, so that two readers could see two resources.
    #[error("{path}: occurs twice in its object")]
    DuplicateKey {
        /// Where.
        path: String,
    },
    /// Another kind of resource.
    #[error("{path}: expected \"Consent\", found {found:?}")]
    WrongResourceType {
        /// Where.
        path: String,
        /// What it is.
        found: String,
    },
    /// Not an element that R4 has here.
    #[error("{path}: not an element of an R4 Consent")]
    UnknownElement {
        /// Where.
        path: String,
    },
    /// It may change the meaning of what it stands in.
    #[error(
        "{path}: a modifier extension may change the meaning of everything around it; none is understood"
    )]
    ModifierExtension {
        /// Where.
        path: String,
    },
    /// An extension of something that is enforced.
    #[error("{path}: extensions of what is enforced are not understood")]
    Extension {
        /// Where.
        path: String,
    },
    /// A required element is absent.
    #[error("{path}: required, but absent")]
    Missing {
        /// Where.
        path: String,
    },
    /// The wrong JSON type, or an empty value.
    #[error("{path}: expected {expected}, found {found}")]
    Malformed {
        /// Where.
        path: String,
        /// What should be there.
        expected: &'static str,
        /// What is.
        found: String,
    },
    /// Not in force.
    #[error("{path}: only an active consent is imported, found {found:?}")]
    NotActive {
        /// Where.
        path: String,
        /// The status.
        found: String,
    },
    /// About treatment, research or an advance directive, not about privacy.
    #[error("{path}: expected the one scope patient-privacy, found {found}")]
    Scope {
        /// Where.
        path: String,
        /// The scope.
        found: String,
    },
    /// Rules that have to be known to understand the resource.
    #[error("{path}: {found:?} names rules needed to understand the resource; none are known")]
    ImplicitRules {
        /// Where.
        path: String,
        /// Their URI.
        found: String,
    },
    /// The narrative says more than the elements.
    #[error("{path}: the narrative says what the elements do not ({found:?}), and it cannot be enforced")]
    NarrativeAdds {
        /// Where.
        path: String,
        /// Its status.
        found: String,
    },
    /// The patient did not confirm it.
    #[error("{path}: the consent was not verified with the patient")]
    NotVerified {
        /// Where.
        path: String,
    },
    /// No base policy, or one that is not known.
    #[error("{path}: expected the base policy OPTIN or OPTOUT of v3-ActCode, found {found}")]
    BasePolicy {
        /// Where.
        path: String,
        /// What was found.
        found: String,
    },
    /// The map has no account for it.
    #[error("{path}: {reference:?} is not in the reference map")]
    UnmappedReference {
        /// Where.
        path: String,
        /// The reference as written.
        reference: String,
    },
    /// No literal reference, or one into the resource itself: nothing outside it that a map could name.
    #[error("{path}: expected a literal reference to a resource of its own, found {found}")]
    NoLiteralReference {
        /// Where.
        path: String,
        /// What was found.
        found: String,
    },
    /// Neither a recipient nor a custodian.
    #[error("{path}: role {found} is understood neither as recipient (PRCP, IRCP) nor as custodian (CST)")]
    Role {
        /// Where.
        path: String,
        /// The role.
        found: String,
    },
    /// A code that the ruleset or this program does not know.
    #[error("{path}: {found} is not understood")]
    Code {
        /// Where.
        path: String,
        /// System and code.
        found: String,
    },
    /// Free text beside a code, which may say more than the code.
    #[error("{path}: {found:?} repeats neither a code nor its display, so it may say more than the code")]
    ConceptText {
        /// Where.
        path: String,
        /// The text.
        found: String,
    },
    /// The root is read in two ways, and nothing says in which.
    #[error(
        "{path}: in the root provision this is read both as an exception to the base policy and as the scope of the consent; \
         name a profile that settles it"
    )]
    AmbiguousRoot {
        /// Where.
        path: String,
    },
    /// R4 permits no type in the root.
    #[error("{path}: R4 permits no type in the root provision; name a profile that settles what it means")]
    RootType {
        /// Where.
        path: String,
    },
    /// The root's type is not what the profile makes of the base policy.
    #[error(
        "{path}: with this base policy the profile {profile} makes the root a {expected}, its type is {found}"
    )]
    RootTypeContradicts {
        /// Where.
        path: String,
        /// Profile.
        profile: &'static str,
        /// By the profile.
        expected: &'static str,
        /// By the resource.
        found: &'static str,
    },
    /// An untyped root would permit to everybody.
    #[error(
        "{path}: the profile makes this untyped root a permit, but it names no recipient: anyone would be permitted"
    )]
    InferredPermitToAll {
        /// Where.
        path: String,
    },
    /// R4 requires a type in every nested provision.
    #[error("{path}: absent, so whether it permits or denies is unknown")]
    UntypedProvision {
        /// Where.
        path: String,
    },
    /// A provision is about particular resources.
    #[error("{path}: provisions about particular resources cannot be enforced")]
    DataInstances {
        /// Where.
        path: String,
    },
    /// Both must match in FHIR; Assent has one attribute for the two.
    #[error("{path}: class and code in one provision must both match, which cannot be enforced")]
    ClassAndCode {
        /// Where.
        path: String,
    },
    /// Labels that are read in two ways.
    #[error("{path}: {problem}")]
    AmbiguousLabels {
        /// Where.
        path: String,
        /// Which.
        problem: &'static str,
    },
    /// A permit among what is permitted: it was meant to narrow, and would not.
    #[error("{path}: permits what is permitted already, so something else is meant, and likely less")]
    ExceptionWithoutEffect {
        /// Where.
        path: String,
    },
    /// An exception that leaves nothing of what it is an exception to.
    #[error("{path}: covers all of what it is an exception to, which then never holds")]
    ExceptionCoversAll {
        /// Where.
        path: String,
    },
    /// An exception to something that it has nothing in common with.
    #[error("{path}: has no {attribute} in common with what it is an exception to, so it never applies")]
    ExceptionNeverApplies {
        /// Where.
        path: String,
        /// In what they differ.
        attribute: &'static str,
    },
    /// Not a date, dateTime or period.
    #[error("{path}: {problem}")]
    Date {
        /// Where.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The consent had expired when it was given: the period is not its validity.
    #[error(
        "{path}: ends before the consent was given (Consent.dateTime); likely the data's time (dataPeriod) is meant"
    )]
    PeriodBeforeConsent {
        /// Where.
        path: String,
    },
    /// Data from before 1970 cannot be told apart.
    #[error("{path}: data from before 1970 cannot be told from data of any other time")]
    DataBefore1970 {
        /// Where.
        path: String,
    },
    /// More than a ledger takes ([`assent_core::limits`]).
    #[error("{path}: {problem}")]
    Limit {
        /// Where.
        path: String,
        /// Which limit.
        problem: String,
    },
}

impl ImportError {
    /// The element that is refused, such as `Consent.provision.provision[0].type`.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::TooLarge { .. } | Self::Json { .. } => "Consent",
            Self::DuplicateKey { path }
            | Self::WrongResourceType { path, .. }
            | Self::UnknownElement { path }
            | Self::ModifierExtension { path }
            | Self::Extension { path }
            | Self::Missing { path }
            | Self::Malformed { path, .. }
            | Self::NotActive { path, .. }
            | Self::Scope { path, .. }
            | Self::ImplicitRules { path, .. }
            | Self::NarrativeAdds { path, .. }
            | Self::NotVerified { path }
            | Self::BasePolicy { path, .. }
            | Self::UnmappedReference { path, .. }
            | Self::NoLiteralReference { path, .. }
            | Self::Role { path, .. }
            | Self::Code { path, .. }
            | Self::ConceptText { path, .. }
            | Self::AmbiguousRoot { path }
            | Self::RootType { path }
            | Self::RootTypeContradicts { path, .. }
            | Self::InferredPermitToAll { path }
            | Self::UntypedProvision { path }
            | Self::DataInstances { path }
            | Self::ClassAndCode { path }
            | Self::AmbiguousLabels { path, .. }
            | Self::ExceptionWithoutEffect { path }
            | Self::ExceptionCoversAll { path }
            | Self::ExceptionNeverApplies { path, .. }
            | Self::Date { path, .. }
            | Self::PeriodBeforeConsent { path }
            | Self::DataBefore1970 { path }
            | Self::Limit { path, .. } => path,
        }
    }

    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "RESOURCE_TOO_LARGE",
            Self::Json { .. } => "NOT_JSON",
            Self::DuplicateKey { .. } => "DUPLICATE_KEY",
            Self::WrongResourceType { .. } => "WRONG_RESOURCE_TYPE",
            Self::UnknownElement { .. } => "UNKNOWN_ELEMENT",
            Self::ModifierExtension { .. } => "MODIFIER_EXTENSION",
            Self::Extension { .. } => "EXTENSION",
            Self::Missing { .. } => "ELEMENT_MISSING",
            Self::Malformed { .. } => "ELEMENT_MALFORMED",
            Self::NotActive { .. } => "NOT_ACTIVE",
            Self::Scope { .. } => "SCOPE_NOT_PRIVACY",
            Self::ImplicitRules { .. } => "IMPLICIT_RULES",
            Self::NarrativeAdds { .. } => "NARRATIVE_ADDS",
            Self::NotVerified { .. } => "NOT_VERIFIED",
            Self::BasePolicy { .. } => "BASE_POLICY_NOT_UNDERSTOOD",
            Self::UnmappedReference { .. } => "REFERENCE_UNMAPPED",
            Self::NoLiteralReference { .. } => "REFERENCE_NOT_LITERAL",
            Self::Role { .. } => "ROLE_NOT_UNDERSTOOD",
            Self::Code { .. } => "CODE_NOT_UNDERSTOOD",
            Self::ConceptText { .. } => "TEXT_BESIDE_CODE",
            Self::AmbiguousRoot { .. } => "ROOT_AMBIGUOUS",
            Self::RootType { .. } => "ROOT_TYPED",
            Self::RootTypeContradicts { .. } => "ROOT_TYPE_CONTRADICTS",
            Self::InferredPermitToAll { .. } => "INFERRED_PERMIT_TO_ALL",
            Self::UntypedProvision { .. } => "PROVISION_UNTYPED",
            Self::DataInstances { .. } => "DATA_INSTANCES",
            Self::ClassAndCode { .. } => "CLASS_AND_CODE",
            Self::AmbiguousLabels { .. } => "LABELS_AMBIGUOUS",
            Self::ExceptionWithoutEffect { .. } => "EXCEPTION_WITHOUT_EFFECT",
            Self::ExceptionCoversAll { .. } => "EXCEPTION_COVERS_ALL",
            Self::ExceptionNeverApplies { .. } => "EXCEPTION_NEVER_APPLIES",
            Self::Date { .. } => "DATE_INVALID",
            Self::PeriodBeforeConsent { .. } => "PERIOD_BEFORE_CONSENT",
            Self::DataBefore1970 { .. } => "DATA_BEFORE_1970",
            Self::Limit { .. } => "LIMIT_EXCEEDED",
        }
    }
}
