//! The terms of a consent: one representation, whatever it was made from.

use assent_proto::v1 as proto;

use crate::{
    AccountId, Hash,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    limits,
    transaction::TransactionError,
};

/// What a provision, a default or a decision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Allowed.
    Permit = 1,
    /// Not allowed.
    Deny = 2,
}

/// What is done with the data: the [consentaction] codes of FHIR R4.
///
/// [consentaction]: http://hl7.org/fhir/R4/codesystem-consent-action.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the code of the same name says it")]
pub enum Action {
    Collect = 1,
    Access = 2,
    Use = 3,
    Disclose = 4,
    Correct = 5,
}

/// Which party of a request an actor is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorRole {
    /// Who asks.
    Recipient = 1,
    /// Who holds the data.
    Custodian = 2,
}

/// An account in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actor {
    /// As what.
    pub role: ActorRole,
    /// Who.
    pub account: AccountId,
}

/// A code of a code system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coding {
    /// URI of the system.
    pub system: String,
    /// Code.
    pub code: String,
}

/// A half-open interval `start..end` in milliseconds since 1970. An open end is `u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    /// Inclusive.
    pub start_ms: u64,
    /// Exclusive.
    pub end_ms: u64,
}

impl Period {
    /// All of time.
    pub const ALWAYS: Self = Self { start_ms: 0, end_ms: u64::MAX };

    /// Whether an instant falls into it.
    #[must_use]
    pub fn contains(&self, time_ms: u64) -> bool {
        self.start_ms <= time_ms && time_ms < self.end_ms
    }

    /// Whether all of `other` falls into it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.start_ms <= other.start_ms && other.end_ms <= self.end_ms
    }

    /// Whether the two have an instant in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start_ms < other.end_ms && other.start_ms < self.end_ms
    }
}

/// One rule of a consent and its exceptions. See [`crate::policy`] for how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provision {
    /// What it says where it matches and no deeper provision does.
    pub effect: Effect,
    /// When it holds.
    pub period: Option<Period>,
    /// Alternatives within a role; all roles that occur must match.
    pub actors: Vec<Actor>,
    /// Alternatives; codes below them are covered.
    pub purposes: Vec<String>,
    /// Alternatives.
    pub actions: Vec<Action>,
    /// Alternatives.
    pub classes: Vec<Coding>,
    /// Alternatives; codes below them are covered.
    pub labels: Vec<Coding>,
    /// When the data are from.
    pub data_period: Option<Period>,
    /// Exceptions.
    pub provisions: Vec<Provision>,
}

impl Provision {
    /// A provision without attributes: it matches everything.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self {
            effect,
            period: None,
            actors: Vec::new(),
            purposes: Vec::new(),
            actions: Vec::new(),
            classes: Vec::new(),
            labels: Vec::new(),
            data_period: None,
            provisions: Vec::new(),
        }
    }
}

/// The terms of a consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentTerms {
    /// What holds where no provision matches; `None`: this consent says nothing there.
    pub default_effect: Option<Effect>,
    /// When the consent is in force.
    pub period: Option<Period>,
    /// Alternatives.
    pub provisions: Vec<Provision>,
}

impl Period {
    pub(crate) fn from_proto(
        field: &'static str,
        period: Option<&proto::Period>,
    ) -> Result<Option<Self>, TransactionError> {
        let Some(period) = period else { return Ok(None) };
        let end_ms = if period.end_ms == 0 { u64::MAX } else { period.end_ms };
        if period.start_ms == 0 && period.end_ms == 0 {
            return Err(TransactionError::field(
                field,
                "a period has a start, an end, or both; found neither",
            ));
        }
        if period.end_ms == u64::MAX {
            return Err(TransactionError::field(field, "an open end is written as 0"));
        }
        if period.start_ms >= end_ms {
            return Err(TransactionError::field(
                field,
                format!("the end {end_ms} is not after the start {}", period.start_ms),
            ));
        }
        Ok(Some(Self { start_ms: period.start_ms, end_ms }))
    }

    fn to_proto(self) -> proto::Period {
        proto::Period {
            start_ms: self.start_ms,
            end_ms: if self.end_ms == u64::MAX { 0 } else { self.end_ms },
        }
    }

    pub(crate) fn encode(encoder: Encoder, period: &Self) -> Encoder {
        encoder.u64(period.start_ms).u64(period.end_ms)
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (start_ms, end_ms) = (decoder.u64("period start")?, decoder.u64("period end")?);
        if start_ms >= end_ms {
            return Err(DecodeError::invalid("period", "the end is not after the start"));
        }
        Ok(Self { start_ms, end_ms })
    }
}

/// Turns a list of proto items into ours, within a limit and without repetition.
pub(crate) fn checked_list<P, T: PartialEq>(
    field: &'static str,
    items: &[P],
    limit: usize,
    each: impl Fn(&P) -> Result<T, TransactionError>,
) -> Result<Vec<T>, TransactionError> {
    if items.len() > limit {
        return Err(TransactionError::field(
            field,
            format!("at most {limit} are allowed, found {}", items.len()),
        ));
    }
    let mut checked = Vec::with_capacity(items.len());
    for item in items {
        let item = each(item)?;
        if checked.contains(&item) {
            return Err(TransactionError::field(field, "the same value occurs twice"));
        }
        checked.push(item);
    }
    Ok(checked)
}

pub(crate) fn code_text(field: &'static str, text: &str, limit: usize) -> Result<String, TransactionError> {
    if text.is_empty() || text.len() > limit {
        return Err(TransactionError::field(field, format!("1 to {limit} bytes, found {}", text.len())));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(TransactionError::field(field, "white space or a control character within"));
    }
    Ok(text.to_owned())
}

/// A code or system within a layout, as strict as in a transaction: what is printed later must not hold control characters.
pub(crate) fn decode_code(
    decoder: &mut Decoder<'_>,
    what: &'static str,
    limit: usize,
) -> Result<String, DecodeError> {
    let text = decoder.text(what)?;
    code_text(what, text, limit).map_err(|error| DecodeError::invalid(what, error))
}

impl Coding {
    pub(crate) fn from_proto(field: &'static str, coding: &proto::Coding) -> Result<Self, TransactionError> {
        Ok(Self {
            system: code_text(field, &coding.system, limits::MAX_SYSTEM_BYTES)?,
            code: code_text(field, &coding.code, limits::MAX_CODE_BYTES)?,
        })
    }

    fn to_proto(&self) -> proto::Coding {
        proto::Coding { system: self.system.clone(), code: self.code.clone() }
    }

    pub(crate) fn encode(encoder: Encoder, coding: &Self) -> Encoder {
        encoder.short(coding.system.as_bytes()).short(coding.code.as_bytes())
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            system: decode_code(decoder, "code system", limits::MAX_SYSTEM_BYTES)?,
            code: decode_code(decoder, "code", limits::MAX_CODE_BYTES)?,
        })
    }
}

impl Effect {
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Permit),
            2 => Some(Self::Deny),
            _ => None,
        }
    }
}

impl Action {
    pub(crate) fn from_number(field: &'static str, number: i32) -> Result<Self, TransactionError> {
        Self::ALL
            .into_iter()
            .find(|action| *action as i32 == number)
            .ok_or_else(|| TransactionError::field(field, format!("unknown action number {number}")))
    }

    /// All actions in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Collect, Self::Access, Self::Use, Self::Disclose, Self::Correct];

    /// The FHIR code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Access => "access",
            Self::Use => "use",
            Self::Disclose => "disclose",
            Self::Correct => "correct",
        }
    }
}

impl Provision {
    fn from_proto(
        provision: &proto::Provision,
        depth: usize,
        count: &mut usize,
    ) -> Result<Self, TransactionError> {
        const FIELD: &str = "grant_consent.terms.provisions";
        *count += 1;
        if *count > limits::MAX_PROVISIONS {
            return Err(TransactionError::field(
                FIELD,
                format!("more than {} provisions", limits::MAX_PROVISIONS),
            ));
        }
        if depth > limits::MAX_PROVISION_DEPTH {
            return Err(TransactionError::field(
                FIELD,
                format!("nested deeper than {} levels", limits::MAX_PROVISION_DEPTH),
            ));
        }
        Ok(Self {
            effect: Effect::from_number(provision.effect).ok_or_else(|| {
                TransactionError::field(
                    "provision.effect",
                    format!("expected permit or deny, found number {}", provision.effect),
                )
            })?,
            period: Period::from_proto("provision.period", provision.period.as_ref())?,
            actors: checked_list("provision.actors", &provision.actors, limits::MAX_ACTORS, |actor| {
                Ok(Actor {
                    role: match actor.role {
                        1 => ActorRole::Recipient,
                        2 => ActorRole::Custodian,
                        other => {
                            return Err(TransactionError::field(
                                "actor.role",
                                format!("unknown role number {other}"),
                            ));
                        }
                    },
                    account: TransactionError::account("actor.account", &actor.account)?,
                })
            })?,
            purposes: checked_list(
                "provision.purposes",
                &provision.purposes,
                limits::MAX_PURPOSES,
                |purpose| code_text("provision.purposes", purpose, limits::MAX_CODE_BYTES),
            )?,
            actions: checked_list("provision.actions", &provision.actions, limits::MAX_ACTIONS, |action| {
                Action::from_number("provision.actions", *action)
            })?,
            classes: checked_list("provision.classes", &provision.classes, limits::MAX_CLASSES, |coding| {
                Coding::from_proto("provision.classes", coding)
            })?,
            labels: checked_list("provision.labels", &provision.labels, limits::MAX_LABELS, |coding| {
                Coding::from_proto("provision.labels", coding)
            })?,
            data_period: Period::from_proto("provision.data_period", provision.data_period.as_ref())?,
            provisions: provision
                .provisions
                .iter()
                .map(|child| Self::from_proto(child, depth + 1, count))
                .collect::<Result<_, _>>()?,
        })
    }

    fn to_proto(&self) -> proto::Provision {
        proto::Provision {
            effect: self.effect as i32,
            period: self.period.map(Period::to_proto),
            actors: self
                .actors
                .iter()
                .map(|actor| proto::Actor { role: actor.role as i32, account: actor.account.0.to_vec() })
                .collect(),
            purposes: self.purposes.clone(),
            actions: self.actions.iter().map(|action| *action as i32).collect(),
            classes: self.classes.iter().map(Coding::to_proto).collect(),
            labels: self.labels.iter().map(Coding::to_proto).collect(),
            data_period: self.data_period.map(Period::to_proto),
            provisions: self.provisions.iter().map(Self::to_proto).collect(),
        }
    }

    fn encode(encoder: Encoder, provision: &Self) -> Encoder {
        encoder
            .u8(provision.effect as u8)
            .option(provision.period.as_ref(), Period::encode)
            .list(&provision.actors, |e, actor| e.u8(actor.role as u8).fixed(&actor.account.0))
            .list(&provision.purposes, |e, purpose| e.short(purpose.as_bytes()))
            .list(&provision.actions, |e, action| e.u8(*action as u8))
            .list(&provision.classes, Coding::encode)
            .list(&provision.labels, Coding::encode)
            .option(provision.data_period.as_ref(), Period::encode)
            .list(&provision.provisions, Self::encode)
    }

    fn decode(decoder: &mut Decoder<'_>, depth: usize) -> Result<Self, DecodeError> {
        if depth > limits::MAX_PROVISION_DEPTH {
            return Err(DecodeError::invalid("provisions", "nested too deep"));
        }
        Ok(Self {
            effect: Effect::from_number(i32::from(decoder.u8("effect")?))
                .ok_or_else(|| DecodeError::invalid("effect", "neither permit nor deny"))?,
            period: decoder.option("period", Period::decode)?,
            actors: decoder.list("actors", limits::MAX_ACTORS, |d| {
                let role = match d.u8("actor role")? {
                    1 => ActorRole::Recipient,
                    2 => ActorRole::Custodian,
                    other => {
                        return Err(DecodeError::invalid("actor role", format!("unknown number {other}")));
                    }
                };
                Ok(Actor { role, account: AccountId(d.hash("actor account")?) })
            })?,
            purposes: decoder.list("purposes", limits::MAX_PURPOSES, |d| {
                decode_code(d, "purpose", limits::MAX_CODE_BYTES)
            })?,
            actions: decoder.list("actions", limits::MAX_ACTIONS, |d| {
                Action::from_number("action", i32::from(d.u8("action")?))
                    .map_err(|error| DecodeError::invalid("action", error))
            })?,
            classes: decoder.list("classes", limits::MAX_CLASSES, Coding::decode)?,
            labels: decoder.list("labels", limits::MAX_LABELS, Coding::decode)?,
            data_period: decoder.option("data period", Period::decode)?,
            provisions: decoder.list("provisions", limits::MAX_PROVISIONS, |d| Self::decode(d, depth + 1))?,
        })
    }
}

impl ConsentTerms {
    /// Checks limits and numbers. Whether the codes are known is for the ruleset to say, at execution.
    ///
    /// # Errors
    /// [`TransactionError::Field`] with the field.
    pub fn from_proto(terms: &proto::ConsentTerms) -> Result<Self, TransactionError> {
        let default_effect = match terms.default_effect {
            0 => None,
            number => Some(Effect::from_number(number).ok_or_else(|| {
                TransactionError::field(
                    "grant_consent.terms.default_effect",
                    format!("unknown effect number {number}"),
                )
            })?),
        };
        let mut count = 0;
        let provisions = terms
            .provisions
            .iter()
            .map(|provision| Provision::from_proto(provision, 1, &mut count))
            .collect::<Result<Vec<_>, _>>()?;
        if default_effect.is_none() && provisions.is_empty() {
            return Err(TransactionError::field(
                "grant_consent.terms",
                "says nothing: neither a default nor a provision",
            ));
        }
        let period = Period::from_proto("grant_consent.terms.period", terms.period.as_ref())?;
        Ok(Self { default_effect, period, provisions })
    }

    /// The message that encodes to these terms.
    #[must_use]
    pub fn to_proto(&self) -> proto::ConsentTerms {
        proto::ConsentTerms {
            default_effect: self.default_effect.map_or(0, |effect| effect as i32),
            period: self.period.map(Period::to_proto),
            provisions: self.provisions.iter().map(Provision::to_proto).collect(),
        }
    }

    /// Layout 0x13.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::ConsentTerms)
            .u8(self.default_effect.map_or(0, |effect| effect as u8))
            .option(self.period.as_ref(), Period::encode)
            .list(&self.provisions, Provision::encode)
            .finish()
    }

    /// Reads layout 0x13.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(Layout::ConsentTerms, bytes)?;
        let default_effect = match decoder.u8("default effect")? {
            0 => None,
            number => Some(
                Effect::from_number(i32::from(number))
                    .ok_or_else(|| DecodeError::invalid("default effect", "unknown number"))?,
            ),
        };
        let period = decoder.option("period", Period::decode)?;
        let provisions = decoder.list("provisions", limits::MAX_PROVISIONS, |d| Provision::decode(d, 1))?;
        decoder.finish()?;
        Ok(Self { default_effect, period, provisions })
    }

    /// The terms hash: `SHA-256(layout 0x13 || transaction salt)`. Salted, so that nobody guesses terms from it.
    #[must_use]
    pub fn hash(encoded: &[u8], salt: &[u8]) -> Hash {
        sha256(&[encoded, salt].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_read_back_from_their_layout_and_from_their_message() {
        let mut inner = Provision::new(Effect::Deny);
        inner.labels.push(Coding { system: "s".into(), code: "PSY".into() });
        let mut outer = Provision::new(Effect::Permit);
        outer.actors.push(Actor { role: ActorRole::Custodian, account: AccountId([3; 32]) });
        outer.purposes.push("TREAT".into());
        outer.actions.push(Action::Access);
        outer.data_period = Some(Period { start_ms: 5, end_ms: u64::MAX });
        outer.provisions.push(inner);
        let terms =
            ConsentTerms { default_effect: Some(Effect::Deny), period: None, provisions: vec![outer] };
        assert_eq!(ConsentTerms::decode(&terms.encode()).unwrap(), terms);
        assert_eq!(ConsentTerms::from_proto(&terms.to_proto()).unwrap(), terms);
    }
}
