//! Whether a subject's consents allow an access. Policy of ruleset 1.
//!
//! A request names classes of data and the labels that the data may carry; it is taken apart into *elementary questions*,
//! one class and one label (or none) each, and allowed only if each of them is. For one question:
//!
//! - A **provision** has attributes of two kinds. *Who, what for and when* (actors, actions, purposes, period) match or do
//!   not. *Which data* (classes, labels, data period) and purposes also have an extent: a permit matches only where it
//!   covers the whole question; a deny matches where the whole question falls under it; where only a part of the data asked
//!   for may fall under a deny, the decision carries an **obligation** to leave that part out.
//! - Among siblings that match, deny overrides; a matching deeper provision overrides its parent; where no provision of a
//!   consent matches, its default holds, if it has one.
//! - Across the consents of a subject that are in force, deny overrides; where none says anything: denied.
//!
//! What is not understood never widens access: an unknown code in a request matches no permit, unless the provision names
//! the very same code.

use std::borrow::Borrow;

use crate::{
    AccountId, TransactionId, limits,
    ruleset::{PURPOSE_SYSTEM, Ruleset},
    terms::{ActorRole, Coding, ConsentTerms, Effect, Period, Provision},
    transaction::AccessScope,
};

/// Data that a permitted recipient must leave out, or purposes it must not pursue: everything that matches all attributes
/// that are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obligation {
    /// Not for these purposes.
    pub purposes: Vec<String>,
    /// Of these classes.
    pub classes: Vec<Coding>,
    /// With these labels.
    pub labels: Vec<Coding>,
    /// From this time.
    pub data_period: Option<Period>,
}

/// What a record of access cites: the decision on a request of the same recipient about the same subject.
#[derive(Clone, Copy, Debug)]
pub struct CitedRequest<'a> {
    /// When the request was sequenced.
    pub time_ms: u64,
    /// End of its permit, exclusive; 0 for a denial.
    pub permit_until_ms: u64,
    /// What was asked for.
    pub scope: &'a AccessScope,
}

/// Why a record of access cannot rely on the request that it cites, if it cannot. `cited` is `None` where no request of this
/// recipient about this subject has the id.
#[must_use]
pub fn cited_fault(
    cited: Option<CitedRequest<'_>>,
    now_ms: u64,
    max_validity_ms: u64,
    read: &AccessScope,
) -> Option<Reason> {
    // Followers that began with a snapshot know no older ones.
    match cited.filter(|cited| now_ms - cited.time_ms.min(now_ms) <= max_validity_ms) {
        None => Some(Reason::NoSuchRequest),
        Some(CitedRequest { permit_until_ms: 0, .. }) => Some(Reason::RequestDenied),
        Some(cited) if now_ms >= cited.permit_until_ms => Some(Reason::PermitExpired),
        Some(cited) if !cited.scope.covers(read) => Some(Reason::BeyondRequest),
        Some(_) => None,
    }
}

/// The decision on a record of access: the policy's, unless the record cannot rely on the request that it cites.
#[must_use]
pub fn with_fault(decision: Decision, fault: Option<Reason>) -> Decision {
    match fault {
        Some(reason) => Decision { verdicts: decision.verdicts, ..Decision::denied(reason) },
        None => decision,
    }
}

/// Why a decision came out as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A provision permits it.
    PermittedByProvision = 1,
    /// A consent's default permits it.
    PermittedByDefault = 2,
    /// A provision denies it.
    DeniedByProvision = 3,
    /// A consent's default denies it.
    DeniedByDefault = 4,
    /// The subject's consents say nothing of it.
    NoneApplicable = 5,
    /// The subject has no consent in force.
    NoConsent = 6,
    /// No account has the subject's id.
    UnknownSubject = 7,
    /// More obligations than a decision may carry.
    TooManyObligations = 8,
    /// A record names no request by this recipient about this subject within the validity window.
    NoSuchRequest = 9,
    /// A record relies on a denied request.
    RequestDenied = 10,
    /// A record relies on a permit that has expired.
    PermitExpired = 11,
    /// A record goes beyond what the cited request asked for.
    BeyondRequest = 12,
}

impl Reason {
    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        use Reason::*;
        [
            PermittedByProvision,
            PermittedByDefault,
            DeniedByProvision,
            DeniedByDefault,
            NoneApplicable,
            NoConsent,
            UnknownSubject,
            TooManyObligations,
            NoSuchRequest,
            RequestDenied,
            PermitExpired,
            BeyondRequest,
        ]
        .into_iter()
        .find(|reason| *reason as u8 == number)
    }
}

/// What one consent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, or it is not in force.
    Silent = 0,
    /// Permit.
    Permit = 1,
    /// Deny.
    Deny = 2,
}

/// The rule that decided: a provision by its path of indices from the root, or, with an empty path, the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    /// Consent.
    pub consent: TransactionId,
    /// Path.
    pub path: Vec<u16>,
}

/// Recipients of a consent that are kept beside it: it may name thousands, and what a cached record holds beyond its own bytes has
/// to be little. A consent that names more is read.
const MAX_ADDRESSEES: usize = 4;

/// Whom a consent can say anything to, without the rest of its terms: most of a subject's consents name another recipient than
/// the one who asks, and need not be read then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addressees {
    /// Any recipient.
    Anyone,
    /// This one.
    One(AccountId),
    /// These.
    Several(Box<[AccountId]>),
}

impl Addressees {
    /// Of a consent's terms: where all provisions name recipients, at most [`MAX_ADDRESSEES`], and there is no default, nobody else is
    /// answered.
    pub(crate) fn of(terms: &ConsentTerms) -> Self {
        let mut all = Vec::new();
        for provision in &terms.provisions {
            let before = all.len();
            let named = provision.actors.iter().filter(|actor| actor.role == ActorRole::Recipient);
            all.extend(named.map(|actor| actor.account));
            if all.len() == before || all.len() > MAX_ADDRESSEES {
                return Self::Anyone;
            }
        }
        match (terms.default_effect, all.as_slice()) {
            (Some(_), _) => Self::Anyone,
            (None, [one]) => Self::One(*one),
            (None, several) => Self::Several(several.into()),
        }
    }

    /// Whether it can say anything to a recipient. Where not, the consent's verdict is [`Verdict::Silent`], without obligations.
    pub(crate) fn include(&self, recipient: &AccountId) -> bool {
        match self {
            Self::Anyone => true,
            Self::One(one) => one == recipient,
            Self::Several(several) => several.contains(recipient),
        }
    }
}

/// A decision over all consents of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Permit or deny.
    pub effect: Effect,
    /// Why.
    pub reason: Reason,
    /// Which rule; `None` where none applied.
    pub decider: Option<Decider>,
    /// What to leave out; empty for a denial.
    pub obligations: Vec<Obligation>,
    /// What each consent said, in the order in which they were given.
    pub verdicts: Vec<(TransactionId, Verdict)>,
}

impl Decision {
    /// A denial for which no consent was read.
    #[must_use]
    pub fn denied(reason: Reason) -> Self {
        Self { effect: Effect::Deny, reason, decider: None, obligations: Vec::new(), verdicts: Vec::new() }
    }
}

/// Who asks for what, when.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub recipient: AccountId,
    /// For what.
    pub scope: &'a AccessScope,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// Decides over a subject's active consents, given in ascending order of their ids.
#[must_use]
pub fn decide<T: Borrow<ConsentTerms>>(
    ruleset: &Ruleset,
    question: &Question<'_>,
    consents: &[(TransactionId, T)],
) -> Decision {
    if consents.is_empty() {
        return Decision::denied(Reason::NoConsent);
    }
    let mut verdicts: Vec<(TransactionId, Verdict)> =
        consents.iter().map(|(id, _)| (*id, Verdict::Silent)).collect();
    let mut obligations = Vec::new();
    let (mut permit, mut deny, mut unanswered) = (None, None, false);
    for element in elements(question) {
        let mut permitted = false;
        for ((id, terms), verdict) in consents.iter().zip(&mut verdicts) {
            let Some((effect, path)) = answer(ruleset, &element, terms.borrow(), &mut obligations) else {
                continue;
            };
            let rule = Some(Decider { consent: *id, path });
            match effect {
                Effect::Deny => {
                    verdict.1 = Verdict::Deny;
                    deny = deny.or(rule);
                }
                Effect::Permit => {
                    permitted = true;
                    if verdict.1 == Verdict::Silent {
                        verdict.1 = Verdict::Permit;
                    }
                    permit = permit.or(rule);
                }
            }
        }
        unanswered |= !permitted;
    }
    let denial = |reason, decider, verdicts| Decision {
        effect: Effect::Deny,
        reason,
        decider,
        obligations: Vec::new(),
        verdicts,
    };
    if let Some(rule) = deny {
        let by_default = rule.path.is_empty();
        return denial(
            if by_default { Reason::DeniedByDefault } else { Reason::DeniedByProvision },
            Some(rule),
            verdicts,
        );
    }
    let Some(rule) = permit.filter(|_| !unanswered) else {
        return denial(Reason::NoneApplicable, None, verdicts);
    };
    if obligations.len() > limits::MAX_OBLIGATIONS {
        return denial(Reason::TooManyObligations, Some(rule), verdicts);
    }
    let reason = if rule.path.is_empty() { Reason::PermittedByDefault } else { Reason::PermittedByProvision };
    Decision { effect: Effect::Permit, reason, decider: Some(rule), obligations, verdicts }
}

/// One class and one label, or none, of a question.
struct Element<'a> {
    question: &'a Question<'a>,
    class: &'a Coding,
    label: Option<&'a Coding>,
    data: Period,
}

fn elements<'a>(question: &'a Question<'a>) -> impl Iterator<Item = Element<'a>> {
    let scope = question.scope;
    let data = scope.data_period.unwrap_or(Period::ALWAYS);
    let unlabelled = scope.labels.is_empty().then_some(None);
    scope.classes.iter().flat_map(move |class| {
        unlabelled.into_iter().chain(scope.labels.iter().map(Some)).map(move |label| Element {
            question,
            class,
            label,
            data,
        })
    })
}

/// What one consent says to one elementary question, and by which rule.
fn answer(
    ruleset: &Ruleset,
    element: &Element<'_>,
    terms: &ConsentTerms,
    obligations: &mut Vec<Obligation>,
) -> Option<(Effect, Vec<u16>)> {
    if terms.period.is_some_and(|period| !period.contains(element.question.time_ms)) {
        return None;
    }
    walk(ruleset, element, &terms.provisions, obligations)
        .or_else(|| terms.default_effect.map(|effect| (effect, Vec::new())))
}

/// Deny overrides among the siblings that match; of equals the first.
fn walk(
    ruleset: &Ruleset,
    element: &Element<'_>,
    siblings: &[Provision],
    obligations: &mut Vec<Obligation>,
) -> Option<(Effect, Vec<u16>)> {
    let mut found: Option<(Effect, Vec<u16>)> = None;
    for (index, provision) in siblings.iter().enumerate() {
        match extent(ruleset, element, provision) {
            Extent::None => continue,
            Extent::Part => {
                if provision.effect == Effect::Deny {
                    leave_out(provision, obligations);
                }
                continue;
            }
            Extent::Whole => {}
        }
        let (effect, deeper) = walk(ruleset, element, &provision.provisions, obligations)
            .unwrap_or((provision.effect, Vec::new()));
        let better = match &found {
            None => true,
            Some((best, _)) => *best == Effect::Permit && effect == Effect::Deny,
        };
        if better {
            let mut path = vec![u16::try_from(index).unwrap_or(u16::MAX)];
            path.extend(deeper);
            found = Some((effect, path));
        }
    }
    found
}

fn leave_out(provision: &Provision, obligations: &mut Vec<Obligation>) {
    let obligation = Obligation {
        purposes: provision.purposes.clone(),
        classes: provision.classes.clone(),
        labels: provision.labels.clone(),
        data_period: provision.data_period,
    };
    if !obligations.contains(&obligation) {
        obligations.push(obligation);
    }
}

/// How much of an elementary question falls under a provision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    None,
    Part,
    Whole,
}

fn extent(ruleset: &Ruleset, element: &Element<'_>, provision: &Provision) -> Extent {
    let (question, scope) = (element.question, element.question.scope);
    let acts = [(ActorRole::Recipient, question.recipient), (ActorRole::Custodian, scope.custodian)];
    let actors_match = acts.into_iter().all(|(role, account)| {
        let mut named = provision.actors.iter().filter(|actor| actor.role == role).peekable();
        named.peek().is_none() || named.any(|actor| actor.account == account)
    });
    let matches = actors_match
        && provision.period.is_none_or(|period| period.contains(question.time_ms))
        && (provision.actions.is_empty() || provision.actions.contains(&scope.action));
    if !matches {
        return Extent::None;
    }
    purposes_extent(ruleset, &scope.purpose, &provision.purposes)
        .min(classes_extent(element.class, &provision.classes))
        .min(labels_extent(ruleset, element.label, &provision.labels))
        .min(data_extent(&element.data, provision.data_period.as_ref()))
}

/// A purpose at or below one named falls under it; one above has a part that does.
fn purposes_extent(ruleset: &Ruleset, asked: &str, named: &[String]) -> Extent {
    if named.is_empty() || named.iter().any(|purpose| ruleset.subsumes(PURPOSE_SYSTEM, purpose, asked)) {
        Extent::Whole
    } else if named.iter().any(|purpose| ruleset.subsumes(PURPOSE_SYSTEM, asked, purpose)) {
        Extent::Part
    } else {
        Extent::None
    }
}

/// FHIR resource types exclude each other; other classes may overlap in ways that no hierarchy here tells.
fn classes_extent(asked: &Coding, named: &[Coding]) -> Extent {
    const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";
    if named.is_empty() || named.contains(asked) {
        Extent::Whole
    } else if asked.system == RESOURCE_TYPES && named.iter().all(|class| class.system == RESOURCE_TYPES) {
        Extent::None
    } else {
        Extent::Part
    }
}

/// Data may carry several labels, so those that the request does not name may still carry the one that is named here.
fn labels_extent(ruleset: &Ruleset, asked: Option<&Coding>, named: &[Coding]) -> Extent {
    let under = |asked: &Coding| {
        named.iter().any(|label| {
            label.system == asked.system && ruleset.subsumes(&label.system, &label.code, &asked.code)
        })
    };
    if named.is_empty() || asked.is_some_and(under) { Extent::Whole } else { Extent::Part }
}

fn data_extent(asked: &Period, named: Option<&Period>) -> Extent {
    match named {
        None => Extent::Whole,
        Some(named) if named.covers(asked) => Extent::Whole,
        Some(named) if named.overlaps(asked) => Extent::Part,
        Some(_) => Extent::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ruleset::SENSITIVITY_SYSTEM,
        terms::{Action, Actor},
    };

    const CLINIC: AccountId = AccountId([1; 32]);
    const INSURER: AccountId = AccountId([2; 32]);
    const HOLDER: AccountId = AccountId([3; 32]);

    fn class(code: &str) -> Coding {
        Coding { system: "http://hl7.org/fhir/resource-types".into(), code: code.into() }
    }

    fn label(code: &str) -> Coding {
        Coding { system: SENSITIVITY_SYSTEM.into(), code: code.into() }
    }

    fn scope(purpose: &str) -> AccessScope {
        AccessScope {
            custodian: HOLDER,
            purpose: purpose.into(),
            action: Action::Access,
            classes: vec![class("Observation")],
            labels: vec![],
            data_period: None,
            acting_person_hash: None,
        }
    }

    fn permit(recipient: AccountId) -> Provision {
        let mut provision = Provision::new(Effect::Permit);
        provision.actors.push(Actor { role: ActorRole::Recipient, account: recipient });
        provision
    }

    fn terms(provisions: Vec<Provision>) -> ConsentTerms {
        ConsentTerms { default_effect: None, period: None, provisions }
    }

    fn ask(recipient: AccountId, scope: &AccessScope, consents: &[ConsentTerms]) -> Decision {
        let consents: Vec<_> = consents
            .iter()
            .enumerate()
            .map(|(i, terms)| (TransactionId([u8::try_from(i).unwrap(); 32]), terms.clone()))
            .collect();
        decide(&Ruleset::numbered(1).unwrap(), &Question { recipient, scope, time_ms: 1000 }, &consents)
    }

    #[test]
    fn a_consent_is_silent_to_whom_it_does_not_address() {
        let ruleset = Ruleset::numbered(1).unwrap();
        let named = |accounts: &[AccountId]| {
            let mut provision = Provision::new(Effect::Permit);
            provision.actors = accounts
                .iter()
                .map(|account| Actor { role: ActorRole::Recipient, account: *account })
                .collect();
            provision
        };
        let held = || {
            let mut provision = Provision::new(Effect::Permit);
            provision.actors = vec![Actor { role: ActorRole::Custodian, account: HOLDER }];
            provision
        };
        let terms = |default_effect, provisions| ConsentTerms { default_effect, period: None, provisions };
        let cases = [
            (terms(None, vec![]), Addressees::Several([].into())),
            (terms(Some(Effect::Deny), vec![named(&[CLINIC])]), Addressees::Anyone),
            (terms(None, vec![named(&[CLINIC])]), Addressees::One(CLINIC)),
            (
                terms(None, vec![named(&[CLINIC]), named(&[INSURER, CLINIC])]),
                Addressees::Several([CLINIC, INSURER, CLINIC].into()),
            ),
            (terms(None, vec![named(&[CLINIC]), held()]), Addressees::Anyone),
            (terms(None, vec![named(&[CLINIC; MAX_ADDRESSEES + 1])]), Addressees::Anyone),
        ];
        let scope = scope("TREAT");
        for (terms, addressees) in cases {
            assert_eq!(Addressees::of(&terms), addressees);
            for recipient in [CLINIC, INSURER, HOLDER] {
                let question = Question { recipient, scope: &scope, time_ms: 5 };
                let decision = decide(&ruleset, &question, &[(TransactionId([1; 32]), terms.clone())]);
                let silent = decision.verdicts[0].1 == Verdict::Silent;
                assert!(silent || addressees.include(&recipient));
                assert!(addressees.include(&recipient) || decision.obligations.is_empty());
                if let Addressees::One(_) | Addressees::Several(_) = addressees {
                    assert_eq!(silent, !addressees.include(&recipient));
                }
            }
        }
    }

    #[test]
    fn without_a_consent_that_says_something_it_is_denied() {
        assert_eq!(ask(CLINIC, &scope("TREAT"), &[]).reason, Reason::NoConsent);
        let decision = ask(INSURER, &scope("TREAT"), &[terms(vec![permit(CLINIC)])]);
        assert_eq!((decision.effect, decision.reason), (Effect::Deny, Reason::NoneApplicable));
    }

    #[test]
    fn a_permit_for_treatment_covers_emergency_treatment_and_not_the_other_way() {
        let mut provision = permit(CLINIC);
        provision.purposes.push("TREAT".into());
        let consents = [terms(vec![provision.clone()])];
        assert_eq!(ask(CLINIC, &scope("ETREAT"), &consents).effect, Effect::Permit);
        assert_eq!(ask(CLINIC, &scope("HPAYMT"), &consents).effect, Effect::Deny);
        provision.purposes = vec!["ETREAT".into()];
        assert_eq!(ask(CLINIC, &scope("TREAT"), &[terms(vec![provision])]).effect, Effect::Deny);
    }

    #[test]
    fn deny_overrides_across_consents_and_among_siblings() {
        let mut deny = permit(CLINIC);
        deny.effect = Effect::Deny;
        let separate = [terms(vec![permit(CLINIC)]), terms(vec![deny.clone()])];
        let decision = ask(CLINIC, &scope("TREAT"), &separate);
        assert_eq!(decision.reason, Reason::DeniedByProvision);
        assert_eq!(decision.decider.unwrap().consent, TransactionId([1; 32]));
        let siblings = [terms(vec![permit(CLINIC), deny])];
        assert_eq!(ask(CLINIC, &scope("TREAT"), &siblings).decider.unwrap().path, vec![1]);
    }

    #[test]
    fn a_deeper_provision_overrides_its_parent() {
        let mut outer = permit(CLINIC);
        outer.effect = Effect::Deny;
        let mut inner = Provision::new(Effect::Permit);
        inner.purposes.push("ETREAT".into());
        outer.provisions.push(inner);
        let consents = [terms(vec![outer])];
        let decision = ask(CLINIC, &scope("ETREAT"), &consents);
        assert_eq!((decision.effect, decision.decider.unwrap().path), (Effect::Permit, vec![0, 0]));
        assert_eq!(ask(CLINIC, &scope("TREAT"), &consents).effect, Effect::Deny);
    }

    #[test]
    fn a_denied_label_is_an_obligation_until_it_is_asked_for() {
        let mut outer = permit(CLINIC);
        let mut inner = Provision::new(Effect::Deny);
        inner.labels.push(label("SUD"));
        outer.provisions.push(inner);
        let consents = [terms(vec![outer])];
        let decision = ask(CLINIC, &scope("TREAT"), &consents);
        assert_eq!(decision.effect, Effect::Permit);
        assert_eq!(decision.obligations[0].labels, vec![label("SUD")]);
        let mut asks = scope("TREAT");
        asks.labels = vec![label("OPIOIDUD")];
        assert_eq!(ask(CLINIC, &asks, &consents).reason, Reason::DeniedByProvision);
        asks.labels = vec![label("HIV"), label("OPIOIDUD")];
        assert_eq!(ask(CLINIC, &asks, &consents).effect, Effect::Deny);
        asks.labels = vec![label("HIV")];
        assert_eq!(ask(CLINIC, &asks, &consents).obligations.len(), 1);
    }

    #[test]
    fn every_class_asked_for_must_be_permitted_by_some_consent() {
        let (mut a, mut b) = (permit(CLINIC), permit(CLINIC));
        a.classes.push(class("Observation"));
        b.classes.push(class("Condition"));
        let mut both = scope("TREAT");
        both.classes.push(class("Condition"));
        assert_eq!(ask(CLINIC, &both, &[terms(vec![a.clone()])]).effect, Effect::Deny);
        assert_eq!(ask(CLINIC, &both, &[terms(vec![a]), terms(vec![b])]).effect, Effect::Permit);
    }

    #[test]
    fn actors_match_in_their_own_role_only() {
        let mut provision = Provision::new(Effect::Permit);
        provision.actors.push(Actor { role: ActorRole::Custodian, account: HOLDER });
        let consents = [terms(vec![provision])];
        assert_eq!(ask(INSURER, &scope("TREAT"), &consents).effect, Effect::Permit);
        let mut elsewhere = scope("TREAT");
        elsewhere.custodian = CLINIC;
        assert_eq!(ask(HOLDER, &elsewhere, &consents).effect, Effect::Deny);
    }

    #[test]
    fn periods_end_exclusively_and_data_periods_must_cover_the_request() {
        let mut provision = permit(CLINIC);
        provision.period = Some(Period { start_ms: 0, end_ms: 1000 });
        assert_eq!(ask(CLINIC, &scope("TREAT"), &[terms(vec![provision.clone()])]).effect, Effect::Deny);
        provision.period = Some(Period { start_ms: 1000, end_ms: 1001 });
        provision.data_period = Some(Period { start_ms: 100, end_ms: 200 });
        let consents = [terms(vec![provision])];
        assert_eq!(ask(CLINIC, &scope("TREAT"), &consents).effect, Effect::Deny, "unbounded request");
        let mut bounded = scope("TREAT");
        bounded.data_period = Some(Period { start_ms: 150, end_ms: 200 });
        assert_eq!(ask(CLINIC, &bounded, &consents).effect, Effect::Permit);
    }

    #[test]
    fn a_default_speaks_only_where_no_provision_does() {
        let mut deny = permit(INSURER);
        deny.effect = Effect::Deny;
        let consents = [ConsentTerms { default_effect: Some(Effect::Permit), ..terms(vec![deny]) }];
        assert_eq!(ask(CLINIC, &scope("TREAT"), &consents).reason, Reason::PermittedByDefault);
        assert_eq!(ask(INSURER, &scope("TREAT"), &consents).reason, Reason::DeniedByProvision);
    }
}
