//! The resource around the provisions, and the reading of the root provision.

use assent_core::{
    AccountId,
    ruleset::Ruleset,
    terms::{ActorRole, ConsentTerms, Effect, Provision},
};

use crate::{
    ImportError, MAX_RESOURCE_BYTES, Profile, ReferenceMap, codes, date,
    json::{Fields, Node, parse},
    provision::{self, Context},
    references,
};

/// What a consent was imported as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The account whose data it is about.
    pub subject: AccountId,
    /// What is enforced.
    pub terms: ConsentTerms,
    /// What was left out or taken as something, each with its path and why that is safe.
    pub notes: Vec<String>,
}

/// Elements that are left out, and why that is safe. What they hold is not looked at, except for modifier extensions.
const NOTED: [(&str, &str); 14] = [
    ("id", "names the resource where it is stored"),
    (
        "meta",
        "about the resource's record; a profile that it claims is not taken as a profile of this import",
    ),
    ("language", "of the texts, which are not enforced"),
    ("contained", "nothing that is enforced may refer to a contained resource"),
    ("extension", "R4 lets only modifier extensions change the meaning of a resource"),
    ("identifier", "names the consent elsewhere"),
    ("category", "R4 has it for indexing and retrieval"),
    ("dateTime", "when it was given; it holds from its grant"),
    ("performer", "who agreed; the ledger asks for the subject's own signature"),
    ("organization", "who manages it; a custodian is named by an actor"),
    ("sourceAttachment", "the signed form is not read; the grant can carry its hash"),
    ("sourceReference", "the signed form is not read; the grant can carry its hash"),
    ("policy", "the text of a policy is not read; policyRule says what holds by default"),
    ("text", "the narrative is not enforced"),
];

/// Elements that are read.
const READ: [&str; 8] = [
    "resourceType",
    "implicitRules",
    "status",
    "scope",
    "patient",
    "policyRule",
    "verification",
    "provision",
];

/// What a root provision may hold besides period and exceptions: what is read in two ways.
const ROOT_CONSTRAINTS: [&str; 7] =
    ["actor", "action", "securityLabel", "purpose", "class", "code", "dataPeriod"];

/// Reads a Consent of FHIR R4 as terms that a ledger enforces. See the crate for what is understood.
///
/// # Errors
/// [`ImportError`], with the path of the first element found that is not understood.
pub fn import(resource_json: &[u8], map: &ReferenceMap, profile: Profile) -> Result<Import, ImportError> {
    if resource_json.len() > MAX_RESOURCE_BYTES {
        return Err(ImportError::TooLarge { limit: MAX_RESOURCE_BYTES, found: resource_json.len() });
    }
    let json = parse(resource_json)?;
    let consent = Node::root(&json).any_object()?;
    let kind = consent.required("resourceType")?;
    match kind.text()? {
        "Consent" => {}
        other => return Err(ImportError::WrongResourceType { path: kind.path, found: other.to_owned() }),
    }
    let mut notes = known_elements(&consent)?;
    in_force(&consent)?;
    narrative(&consent)?;
    let subject = references::account(&consent.required("patient")?, map)?;
    let base = codes::base_policy(&consent.get("policyRule").ok_or_else(|| ImportError::BasePolicy {
        path: "Consent.policyRule".into(),
        found: "none".into(),
    })?)?;
    if base == Effect::Deny {
        notes.push(
            "Consent.policyRule: OPTOUT denies what no provision permits, also what another consent of the subject \
             permits"
                .into(),
        );
    }
    let ruleset = Ruleset::numbered(Ruleset::NEWEST)
        .map_err(|error| ImportError::Limit { path: "Consent".into(), problem: error.to_string() })?;
    let mut context = Context { map, ruleset: &ruleset, notes, count: 0 };
    let terms = match consent.get("provision") {
        None => ConsentTerms { default_effect: Some(base), period: None, provisions: Vec::new() },
        Some(root) => root_provision(&mut context, &root, base, profile)?,
    };
    given_within(&consent, &terms)?;
    // The writer's limits are checked above with their paths; this is the reader's side of the same limits.
    match ConsentTerms::from_proto(&terms.to_proto()) {
        Ok(read) if read == terms => Ok(Import { subject, terms, notes: context.notes }),
        Ok(_) => Err(ImportError::Limit {
            path: "Consent.provision".into(),
            problem: "the terms do not read back as they were written".into(),
        }),
        Err(error) => {
            Err(ImportError::Limit { path: "Consent.provision".into(), problem: error.to_string() })
        }
    }
}

/// Every element is known; notes for those that are left out.
fn known_elements(consent: &Fields<'_>) -> Result<Vec<String>, ImportError> {
    let mut notes = Vec::new();
    for name in consent.names() {
        let path = format!("Consent.{name}");
        if let Some((_, why)) = NOTED.iter().find(|(noted, _)| *noted == name) {
            notes.push(format!("{path}: left out: {why}"));
        } else if name.starts_with('_') {
            return Err(ImportError::Extension { path });
        } else if !READ.contains(&name) {
            return Err(ImportError::UnknownElement { path });
        }
    }
    Ok(notes)
}

/// It is a privacy consent, active, understood without further rules, and not unverified.
fn in_force(consent: &Fields<'_>) -> Result<(), ImportError> {
    if let Some(rules) = consent.get("implicitRules") {
        return Err(ImportError::ImplicitRules { found: rules.text()?.to_owned(), path: rules.path });
    }
    let status = consent.required("status")?;
    if status.text()? != "active" {
        return Err(ImportError::NotActive { found: status.text()?.to_owned(), path: status.path });
    }
    let scope = consent.required("scope")?;
    for code in codes::concept(&scope)? {
        if (code.system, code.code) != (codes::SCOPE_SYSTEM, "patient-privacy") {
            return Err(ImportError::Scope { found: code.shown(), path: scope.path });
        }
    }
    consent.required("category")?.array()?;
    for node in consent.list("verification")? {
        let verified =
            node.object(&["verified", "verifiedWith", "verificationDate"])?.required("verified")?;
        if !verified.boolean()? {
            return Err(ImportError::NotVerified { path: verified.path });
        }
    }
    Ok(())
}

/// A narrative is left out where its [status] says that the elements hold all of it.
///
/// [status]: http://hl7.org/fhir/R4/codesystem-narrative-status.html
fn narrative(consent: &Fields<'_>) -> Result<(), ImportError> {
    let Some(text) = consent.get("text") else { return Ok(()) };
    let status = text.any_object()?.required("status")?;
    match status.text()? {
        "generated" | "extensions" | "empty" => Ok(()),
        other => Err(ImportError::NarrativeAdds { found: other.to_owned(), path: status.path }),
    }
}

/// A validity that ended before the consent was given would never permit anything, so something else was meant by it:
/// HL7's own examples have the time of the data there. Both would be enforced wrongly as validity.
fn given_within(consent: &Fields<'_>, terms: &ConsentTerms) -> Result<(), ImportError> {
    let Some(given) = consent.get("dateTime") else { return Ok(()) };
    let given = date::moment(&given)?;
    let ended = terms
        .period
        .is_some_and(|period| i64::try_from(period.end_ms).is_ok_and(|end| end <= given.start_ms));
    if ended {
        return Err(ImportError::PeriodBeforeConsent { path: "Consent.provision.period".into() });
    }
    Ok(())
}

fn opposite(effect: Effect) -> Effect {
    match effect {
        Effect::Permit => Effect::Deny,
        Effect::Deny => Effect::Permit,
    }
}

/// Reads the root provision as the profile says; see [`Profile`].
fn root_provision(
    context: &mut Context<'_>,
    root: &Node<'_>,
    base: Effect,
    profile: Profile,
) -> Result<ConsentTerms, ImportError> {
    let fields = root.object(&provision::ELEMENTS)?;
    provision::refuse_instances(&fields)?;
    let kind = fields.get("type");
    let constraint = ROOT_CONSTRAINTS.iter().find_map(|name| fields.get(name));
    let effect = match profile {
        Profile::Plain => {
            if let Some(kind) = kind {
                return Err(ImportError::RootType { path: kind.path });
            }
            if let Some(constraint) = constraint {
                return Err(ImportError::AmbiguousRoot { path: constraint.path });
            }
            base
        }
        Profile::RootException => {
            // Where the root is an exception, its period could be the exception's or the consent's.
            if let Some(period) = fields.get("period") {
                return Err(ImportError::AmbiguousRoot { path: period.path });
            }
            opposite(base)
        }
        Profile::RootScope => base,
    };
    if let Some(kind) = &kind {
        let found = provision::effect(kind)?;
        if found != effect {
            return Err(ImportError::RootTypeContradicts {
                path: kind.path.clone(),
                profile: profile.name(),
                expected: provision::word(effect),
                found: provision::word(found),
            });
        }
        if constraint.is_none() && profile == Profile::RootException {
            return Err(ImportError::ExceptionCoversAll { path: fields.path });
        }
    }
    let period = match fields.get("period") {
        Some(node) => date::period(&node, date::Of::Decision, &mut context.notes)?,
        None => None,
    };
    if constraint.is_none() {
        let everything = Provision { period, ..Provision::new(base) };
        let provisions = context.exceptions(&fields, &everything, 1)?;
        return Ok(ConsentTerms { default_effect: Some(base), period, provisions });
    }
    let mut rule = context.attributes(&fields, effect, 1)?;
    let names_recipient = rule.actors.iter().any(|actor| actor.role == ActorRole::Recipient);
    if kind.is_none() && effect == Effect::Permit && !names_recipient {
        return Err(ImportError::InferredPermitToAll { path: format!("{}.actor", fields.path) });
    }
    context.notes.push(format!(
        "Consent.provision: read as a {} by the profile {}: {}",
        provision::word(effect),
        profile.name(),
        profile.reading()
    ));
    rule.provisions = context.exceptions(&fields, &Provision { period, ..rule.clone() }, 2)?;
    let default_effect = (profile == Profile::RootException).then_some(base);
    Ok(ConsentTerms { default_effect, period, provisions: vec![rule] })
}
