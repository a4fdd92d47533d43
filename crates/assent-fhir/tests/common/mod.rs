//! What the tests share: accounts and requests.
#![allow(dead_code, reason = "each test program uses a part")]

use assent_core::{
    AccountId, TransactionId,
    policy::{Decision, Question, decide},
    ruleset::Ruleset,
    signature::KeyPair,
    terms::{Action, Coding, ConsentTerms},
    transaction::AccessScope,
};

/// The account of the key made from 32 times this byte.
pub fn account(seed: u8) -> AccountId {
    KeyPair::from_seed([seed; 32]).public().account_id()
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub recipient: AccountId,
    pub scope: AccessScope,
    pub time_ms: u64,
}

/// `system|code`, or the code of a resource type.
pub fn coding(text: &str) -> Coding {
    let (system, code) = text.rsplit_once('|').unwrap_or(("http://hl7.org/fhir/resource-types", text));
    Coding { system: system.into(), code: code.into() }
}

pub fn ms(rfc3339: &str) -> u64 {
    chrono::DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_millis().try_into().unwrap()
}

/// A request to access observations for treatment in the middle of 2026.
pub fn request(recipient: AccountId, custodian: AccountId) -> Request {
    Request {
        recipient,
        scope: AccessScope {
            custodian,
            purpose: "TREAT".into(),
            action: Action::Access,
            classes: vec![coding("Observation")],
            labels: vec![],
            data_period: None,
            acting_person_hash: None,
        },
        time_ms: ms("2026-07-01T00:00:00Z"),
    }
}

/// What these consents of one subject say to a request.
pub fn ask(request: &Request, consents: &[&ConsentTerms]) -> Decision {
    let consents: Vec<_> =
        (0..).zip(consents).map(|(i, terms)| (TransactionId::of_body(&[i]), (*terms).clone())).collect();
    let question = Question { recipient: request.recipient, scope: &request.scope, time_ms: request.time_ms };
    decide(&Ruleset::numbered(1).unwrap(), &question, &consents)
}
