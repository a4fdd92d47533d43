//! Codings and the code systems that are understood.

use assent_core::{
    limits,
    ruleset::{CONFIDENTIALITY_SYSTEM, PURPOSE_SYSTEM, Ruleset, SENSITIVITY_SYSTEM},
    terms::{Action, ActorRole, Coding, Effect},
};

use crate::{ImportError, json::Node};

/// What a consent is about: <http://hl7.org/fhir/R4/valueset-consent-scope.html>.
pub(crate) const SCOPE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
/// Base policies OPTIN and OPTOUT: <http://hl7.org/fhir/R4/valueset-consent-policy.html>.
const BASE_POLICY_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
/// Actions: <http://hl7.org/fhir/R4/codesystem-consent-action.html>.
const ACTION_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
/// Roles: <http://hl7.org/fhir/R4/v3/ParticipationType/cs.html>.
const ROLE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";

/// The confidentiality levels, lowest first: <http://hl7.org/fhir/R4/v3/Confidentiality/cs.html>.
const CONFIDENTIALITY: [&str; 6] = ["U", "L", "M", "N", "R", "V"];

/// A coding and where it stands. Its version is not compared: the ruleset has one version of every code.
pub(crate) struct Code<'a> {
    pub path: String,
    pub system: &'a str,
    pub code: &'a str,
}

impl Code<'_> {
    pub fn shown(&self) -> String {
        format!("{}#{}", self.system, self.code)
    }

    fn refused(&self) -> ImportError {
        ImportError::Code { path: self.path.clone(), found: self.shown() }
    }
}

fn fields<'a>(node: &Node<'a>) -> Result<(Code<'a>, Option<&'a str>), ImportError> {
    let fields = node.object(&["system", "version", "code", "display", "userSelected"])?;
    let (system, code) = (fields.required("system")?.text()?, fields.required("code")?.text()?);
    let display = fields.get("display").map(|display| display.text()).transpose()?;
    Ok((Code { path: node.path.clone(), system, code }, display))
}

/// A [Coding](http://hl7.org/fhir/R4/datatypes.html#Coding) with system and code.
pub(crate) fn coding<'a>(node: &Node<'a>) -> Result<Code<'a>, ImportError> {
    fields(node).map(|(code, _)| code)
}

/// The codings of a [CodeableConcept](http://hl7.org/fhir/R4/datatypes.html#CodeableConcept), at least one. Its text may
/// only repeat them: FHIR lets it say what no code does.
pub(crate) fn concept<'a>(node: &Node<'a>) -> Result<Vec<Code<'a>>, ImportError> {
    let concept = node.object(&["coding", "text"])?;
    let codings = concept.required("coding")?.array()?.iter().map(fields).collect::<Result<Vec<_>, _>>()?;
    if let Some(text) = concept.get("text") {
        let found = text.text()?;
        if !codings.iter().any(|(code, display)| code.code == found || *display == Some(found)) {
            return Err(ImportError::ConceptText { path: text.path, found: found.to_owned() });
        }
    }
    Ok(codings.into_iter().map(|(code, _)| code).collect())
}

/// What all codings of a concept mean, where they mean the same.
fn one<T: PartialEq>(codes: &[Code<'_>], each: impl Fn(&Code<'_>) -> Option<T>) -> Option<T> {
    let (first, rest) = codes.split_first()?;
    let meaning = each(first)?;
    rest.iter().all(|code| each(code).as_ref() == Some(&meaning)).then_some(meaning)
}

fn shown(codes: &[Code<'_>]) -> String {
    codes.iter().map(Code::shown).collect::<Vec<_>>().join(", ")
}

/// What holds by default.
pub(crate) fn base_policy(node: &Node<'_>) -> Result<Effect, ImportError> {
    let codes = concept(node)?;
    one(&codes, |code| match (code.system, code.code) {
        (BASE_POLICY_SYSTEM, "OPTIN") => Some(Effect::Permit),
        (BASE_POLICY_SYSTEM, "OPTOUT") => Some(Effect::Deny),
        _ => None,
    })
    .ok_or_else(|| ImportError::BasePolicy { path: node.path.clone(), found: shown(&codes) })
}

/// Recipient or custodian. The two are opposite ends of an access, so no other role is read as either.
pub(crate) fn role(node: &Node<'_>) -> Result<ActorRole, ImportError> {
    let codes = concept(node)?;
    one(&codes, |code| match (code.system, code.code) {
        (ROLE_SYSTEM, "PRCP" | "IRCP") => Some(ActorRole::Recipient),
        (ROLE_SYSTEM, "CST") => Some(ActorRole::Custodian),
        _ => None,
    })
    .ok_or_else(|| ImportError::Role { path: node.path.clone(), found: shown(&codes) })
}

pub(crate) fn action(node: &Node<'_>) -> Result<Action, ImportError> {
    let codes = concept(node)?;
    one(&codes, |code| {
        Action::ALL.into_iter().find(|action| code.system == ACTION_SYSTEM && code.code == action.code())
    })
    .ok_or_else(|| ImportError::Code { path: node.path.clone(), found: shown(&codes) })
}

pub(crate) fn purpose(node: &Node<'_>, ruleset: &Ruleset) -> Result<String, ImportError> {
    let code = coding(node)?;
    if code.system != PURPOSE_SYSTEM || !ruleset.knows(PURPOSE_SYSTEM, code.code) {
        return Err(code.refused());
    }
    Ok(code.code.to_owned())
}

/// A class of data, of any system: it is compared, not interpreted.
pub(crate) fn class(code: &Code<'_>) -> Result<Coding, ImportError> {
    let fits = |text: &str, limit: usize| {
        text.len() <= limit && !text.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    if !fits(code.system, limits::MAX_SYSTEM_BYTES) || !fits(code.code, limits::MAX_CODE_BYTES) {
        return Err(ImportError::Limit {
            path: code.path.clone(),
            problem: format!(
                "expected a system of at most {} bytes and a code of at most {}, without white space",
                limits::MAX_SYSTEM_BYTES,
                limits::MAX_CODE_BYTES
            ),
        });
    }
    Ok(Coding { system: code.system.to_owned(), code: code.code.to_owned() })
}

/// The labels that data may carry to fall under a provision. Sensitivities cover those below them, as the ruleset knows
/// anyway. A confidentiality is a [high-water mark]: "R" stands for "R or lower".
///
/// [high-water mark]: http://hl7.org/fhir/R4/consent-definitions.html#Consent.provision.securityLabel
pub(crate) fn labels(
    nodes: &[Node<'_>],
    effect: Effect,
    ruleset: &Ruleset,
) -> Result<Vec<Coding>, ImportError> {
    let mut labels = Vec::new();
    let mut system = None;
    for node in nodes {
        let code = coding(node)?;
        let known = [SENSITIVITY_SYSTEM, CONFIDENTIALITY_SYSTEM].contains(&code.system)
            && ruleset.knows(code.system, code.code);
        if !known {
            return Err(code.refused());
        }
        if effect == Effect::Permit && *system.get_or_insert(code.system) != code.system {
            return Err(ImportError::AmbiguousLabels {
                path: code.path,
                problem: "a permit for labels of two kinds is read both as for data that carry either and as for data \
                          that carry both",
            });
        }
        let position = CONFIDENTIALITY.iter().position(|level| *level == code.code);
        match position.filter(|_| code.system == CONFIDENTIALITY_SYSTEM) {
            Some(level) => {
                if effect == Effect::Deny {
                    return Err(ImportError::AmbiguousLabels {
                        path: code.path,
                        problem: "R4 reads a confidentiality as \"this or lower\", a denial means \"this or higher\"",
                    });
                }
                labels.extend(CONFIDENTIALITY[..=level].iter().map(|level| Coding {
                    system: CONFIDENTIALITY_SYSTEM.to_owned(),
                    code: (*level).to_owned(),
                }));
            }
            None => labels.push(Coding { system: code.system.to_owned(), code: code.code.to_owned() }),
        }
    }
    Ok(labels)
}
