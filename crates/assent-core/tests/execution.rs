//! What each act does, told as promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use assent_core::{
    AccountId,
    batch::RefusalReason,
    limits,
    outcome::OutcomeKind,
    policy::Reason,
    records::{ConsentRecord, Record, StateKey},
    transaction::{Transaction, TransactionError, revocation_code_hash, sign_body},
};
use assent_proto::v1 as proto;
use common::*;
use prost::Message;
use proto::{AccountKind, transaction_body::Act};

const PATIENT: u8 = 1;
const CLINIC: u8 = 2;
const INSURER: u8 = 4;

fn with_accounts() -> Ledger {
    let mut ledger = Ledger::new();
    for (n, kind) in [
        (PATIENT, AccountKind::Patient),
        (CLINIC, AccountKind::Organisation),
        (INSURER, AccountKind::Organisation),
    ] {
        ledger.one(n, open(kind)).unwrap();
    }
    ledger
}

#[test]
fn a_revocation_holds_for_the_next_decision() {
    let mut ledger = with_accounts();
    let consent = ledger.one(PATIENT, grant(CLINIC)).unwrap().entry.transaction_id;
    let permitted = ledger.one(CLINIC, request(&[PATIENT], "ETREAT")).unwrap();
    assert_eq!(permitted.outcome.leaves().unwrap()[0].kind, OutcomeKind::AccessPermitted);
    assert_eq!(permitted.outcome.leaves().unwrap()[0].obligations[0].labels[0].code, "SUD");
    assert_eq!(permitted.outcome.details().unwrap()[0].decider.as_ref().unwrap().consent, consent);
    // In one group: the revocation comes first in sequence order.
    let (revocation, again) = (
        ledger.transaction(PATIENT, revoke(consent)),
        ledger.transaction(CLINIC, request(&[PATIENT], "TREAT")),
    );
    let output = ledger.group(&[revocation, again], true).unwrap();
    assert_eq!(output.executed[0].outcome.leaves().unwrap()[0].kind, OutcomeKind::ConsentRevoked);
    assert_eq!(output.executed[1].outcome.leaves().unwrap()[0].kind, OutcomeKind::AccessDenied);
    let record = ledger.store.state[&StateKey::consent(consent)].clone();
    assert!(ConsentRecord::decode(&record.record).unwrap().revoked.is_some());
}

#[test]
fn denials_of_an_unknown_subject_of_no_consent_and_of_a_refusal_look_the_same() {
    let mut ledger = with_accounts();
    ledger.one(PATIENT, grant(CLINIC)).unwrap();
    let refused = ledger.one(INSURER, request(&[PATIENT], "HPAYMT")).unwrap();
    let absent = ledger.one(INSURER, request(&[CLINIC], "HPAYMT")).unwrap();
    let unknown = ledger.one(INSURER, request(&[77], "HPAYMT")).unwrap();
    let reasons: Vec<_> = [&refused, &absent, &unknown]
        .map(|executed| executed.outcome.details().unwrap()[0].reason.unwrap())
        .into();
    assert_eq!(reasons, [Reason::NoneApplicable, Reason::NoConsent, Reason::UnknownSubject]);
    let sizes = [&refused, &absent, &unknown].map(|executed| {
        let mut leaf = executed.outcome.leaves().unwrap()[0].clone();
        assert_eq!((leaf.kind, leaf.permit_until_ms), (OutcomeKind::AccessDenied, 0));
        (leaf.object, leaf.detail_hash) = ([0; 32], [0; 32]);
        leaf.encode()
    });
    assert!(sizes.iter().all(|leaf| *leaf == sizes[0]));
}

#[test]
fn a_cohort_gets_one_decision_for_each_subject() {
    let mut ledger = with_accounts();
    ledger.one(PATIENT, grant(CLINIC)).unwrap();
    let executed = ledger.one(CLINIC, request(&[9, PATIENT, 8], "TREAT")).unwrap();
    let kinds: Vec<_> = executed.outcome.leaves().unwrap().iter().map(|leaf| leaf.kind).collect();
    assert_eq!(kinds, [OutcomeKind::AccessDenied, OutcomeKind::AccessPermitted, OutcomeKind::AccessDenied]);
    assert_eq!(AccountId(executed.outcome.leaves().unwrap()[1].object), account(PATIENT));
    assert!(distinct(executed.outcome.details().unwrap().iter().map(|detail| detail.salt)));
}

#[test]
fn a_record_is_sequenced_and_judged_again_whatever_it_relies_on() {
    let mut ledger = with_accounts();
    let consent = ledger.one(PATIENT, grant(CLINIC)).unwrap().entry.transaction_id;
    let permitted = ledger.one(CLINIC, request(&[PATIENT], "TREAT")).unwrap().entry.transaction_id;
    let denied = ledger.one(INSURER, request(&[PATIENT], "TREAT")).unwrap().entry.transaction_id;
    let judge = |ledger: &mut Ledger, n, cited, subject| {
        let executed = ledger.one(n, record(cited, subject)).unwrap();
        (executed.outcome.leaves().unwrap()[0].kind, executed.outcome.details().unwrap()[0].reason.unwrap())
    };
    let uncovered = OutcomeKind::AccessUncovered;
    assert_eq!(judge(&mut ledger, CLINIC, permitted, PATIENT).0, OutcomeKind::AccessCovered);
    assert_eq!(judge(&mut ledger, INSURER, denied, PATIENT), (uncovered, Reason::RequestDenied));
    assert_eq!(judge(&mut ledger, INSURER, permitted, PATIENT), (uncovered, Reason::NoSuchRequest));
    assert_eq!(judge(&mut ledger, CLINIC, permitted, INSURER), (uncovered, Reason::NoSuchRequest));
    // The consent would permit emergency treatment; the request was not for it.
    let mut wider = scope(3, "ETREAT");
    let beyond = |ledger: &mut Ledger, scope: proto::AccessScope| {
        let Act::RecordAccess(mut read) = record(permitted, PATIENT) else { panic!() };
        read.scope = Some(scope);
        ledger.one(CLINIC, Act::RecordAccess(read)).unwrap().outcome.details().unwrap()[0].reason.unwrap()
    };
    assert_eq!(beyond(&mut ledger, wider.clone()), Reason::BeyondRequest);
    wider = scope(3, "TREAT");
    wider.data_period = Some(proto::Period { start_ms: 5, end_ms: 0 });
    assert_eq!(beyond(&mut ledger, wider), Reason::PermittedByProvision, "less than was asked for");
    ledger.time_ms += ledger.manifest.limits.permit_validity_ms;
    assert_eq!(judge(&mut ledger, CLINIC, permitted, PATIENT), (uncovered, Reason::PermitExpired));
    let fresh = ledger.one(CLINIC, request(&[PATIENT], "TREAT")).unwrap().entry.transaction_id;
    ledger.one(PATIENT, revoke(consent)).unwrap();
    assert_eq!(judge(&mut ledger, CLINIC, fresh, PATIENT), (uncovered, Reason::NoConsent));
}

#[test]
fn a_signed_revocation_is_sequenced_even_when_it_changes_nothing() {
    let mut ledger = with_accounts();
    let consent = ledger.one(PATIENT, grant(CLINIC)).unwrap().entry.transaction_id;
    let by_another = ledger.one(INSURER, revoke(consent)).unwrap();
    assert_eq!(by_another.outcome.leaves().unwrap()[0].kind, OutcomeKind::RevocationWithoutEffect);
    // Also by a party that has no account.
    let by_stranger = ledger.one(66, revoke(consent)).unwrap();
    assert_eq!(by_stranger.outcome.leaves().unwrap()[0].kind, OutcomeKind::RevocationWithoutEffect);
    assert_eq!(
        ledger.one(PATIENT, revoke(consent)).unwrap().outcome.leaves().unwrap()[0].kind,
        OutcomeKind::ConsentRevoked
    );
    let twice = ledger.one(PATIENT, revoke(consent)).unwrap();
    assert_eq!(twice.outcome.leaves().unwrap()[0].kind, OutcomeKind::RevocationWithoutEffect);
}

#[test]
fn whoever_shows_the_code_revokes_without_an_account_or_a_key() {
    let mut ledger = with_accounts();
    let code = [0x5a; 32];
    let act = Act::GrantConsent(proto::GrantConsent {
        terms: Some(terms(CLINIC)),
        revocation_code_hash: revocation_code_hash(&code).to_vec(),
        source_hash: vec![],
    });
    ledger.one(PATIENT, act.clone()).unwrap();
    assert_eq!(ledger.one(PATIENT, act).unwrap_err(), RefusalReason::RevocationCodeTaken);
    let by_code = |code: [u8; 32]| {
        Act::RevokeConsent(proto::RevokeConsent {
            by: Some(proto::revoke_consent::By::RevocationCode(code.to_vec())),
        })
    };
    assert_eq!(ledger.one(0, by_code([1; 32])).unwrap_err(), RefusalReason::UnknownRevocationCode);
    assert_eq!(
        ledger.one(0, by_code(code)).unwrap().outcome.leaves().unwrap()[0].kind,
        OutcomeKind::ConsentRevoked
    );
    let denied = ledger.one(CLINIC, request(&[PATIENT], "TREAT")).unwrap();
    assert_eq!(denied.outcome.leaves().unwrap()[0].kind, OutcomeKind::AccessDenied);
}

#[test]
fn what_the_rules_refuse_changes_nothing() {
    let mut ledger = with_accounts();
    let before = ledger.machine.cursor().clone();
    let mut refused = |act: Act, n: u8| ledger.one(n, act).unwrap_err();
    assert_eq!(refused(open(AccountKind::Patient), PATIENT), RefusalReason::AccountExists);
    assert_eq!(refused(grant(CLINIC), 50), RefusalReason::UnknownAccount);
    assert_eq!(refused(request(&[PATIENT], "TREATT"), CLINIC), RefusalReason::UnknownCode);
    assert_eq!(ledger.machine.cursor(), &before);

    let transaction = ledger.transaction(PATIENT, grant(CLINIC));
    ledger.submit(&transaction).unwrap();
    assert_eq!(ledger.submit(&transaction).unwrap_err(), RefusalReason::Duplicate);
    let late = ledger.transaction(PATIENT, grant(CLINIC));
    ledger.time_ms += 3_600_000;
    assert_eq!(ledger.submit(&late).unwrap_err(), RefusalReason::Expired);
    ledger.time_ms -= 3_600_000;
    let early = {
        ledger.time_ms += limits::MAX_VALIDITY_MS;
        let early = ledger.transaction(PATIENT, grant(CLINIC));
        ledger.time_ms -= limits::MAX_VALIDITY_MS;
        early
    };
    assert_eq!(ledger.submit(&early).unwrap_err(), RefusalReason::ExpiryTooFar);
    for _ in 1..limits::MAX_ACTIVE_CONSENTS {
        ledger.one(PATIENT, grant(CLINIC)).unwrap();
    }
    assert_eq!(ledger.one(PATIENT, grant(CLINIC)).unwrap_err(), RefusalReason::TooManyConsents);
}

#[test]
fn bodies_that_are_not_in_the_one_encoding_are_refused() {
    let mut ledger = Ledger::new();
    let chain = ledger.manifest.chain_id();
    let transaction = ledger.transaction(PATIENT, grant(CLINIC));
    let signed = proto::SignedTransaction { body: transaction.body.clone(), authorizations: vec![] };
    let with_body = |body: Vec<u8>| {
        Transaction::decode(&chain, &proto::SignedTransaction { body: body.into(), ..signed.clone() })
            .unwrap_err()
    };
    let mut unknown_field = transaction.body.to_vec();
    unknown_field.extend([0xf8, 0x07, 0x01]);
    assert!(matches!(with_body(unknown_field), TransactionError::NotCanonical { .. }));
    // The same fields with the act before the others.
    let mut body = proto::TransactionBody::decode(transaction.body.clone()).unwrap();
    let act = proto::TransactionBody { act: body.act.take(), ..Default::default() };
    let reordered = [act.encode_to_vec(), body.encode_to_vec()].concat();
    assert!(matches!(with_body(reordered), TransactionError::NotCanonical { .. }));
    assert!(matches!(with_body(vec![0xff; 10]), TransactionError::Malformed(_)));
    assert!(matches!(with_body(vec![]), TransactionError::WrongChain { .. }));
    assert!(matches!(with_body(vec![0; limits::MAX_BODY_BYTES + 1]), TransactionError::TooLarge { .. }));
    let unsigned = Transaction::decode(&chain, &signed).unwrap_err();
    assert_eq!(unsigned, TransactionError::AuthorizationCount { expected: 1, found: 0 });
    let body = proto::TransactionBody::decode(transaction.body.clone()).unwrap();
    let foreign = Transaction::decode(&chain, &sign_body(&body, Some(&key(CLINIC)))).unwrap_err();
    assert!(matches!(foreign, TransactionError::NotSenderKey { .. }));
    let mut forged = sign_body(&body, Some(&key(PATIENT)));
    forged.authorizations[0].signature[0] ^= 1;
    let forged = Transaction::decode(&chain, &forged).unwrap();
    assert!(matches!(forged.verify_signatures(), Err(TransactionError::Signature(_))));
}

#[test]
fn fields_outside_their_limits_are_refused_by_name() {
    let mut ledger = Ledger::new();
    let chain = ledger.manifest.chain_id();
    let body = proto::TransactionBody::decode(ledger.transaction(PATIENT, grant(CLINIC)).body).unwrap();
    let refuse = |change: &dyn Fn(&mut proto::TransactionBody), field: &str| {
        let mut body = body.clone();
        change(&mut body);
        match Transaction::decode(&chain, &sign_body(&body, Some(&key(PATIENT)))).unwrap_err() {
            TransactionError::Field { field: found, .. } => assert_eq!(found, field),
            other => panic!("{other}"),
        }
    };
    fn provision(body: &mut proto::TransactionBody) -> &mut proto::Provision {
        let Some(Act::GrantConsent(grant)) = &mut body.act else { panic!() };
        &mut grant.terms.as_mut().unwrap().provisions[0]
    }
    refuse(&|body| body.salt.truncate(15), "salt");
    refuse(&|body| body.sender.truncate(31), "sender");
    refuse(&|body| body.act = None, "act");
    refuse(&|body| provision(body).effect = 3, "provision.effect");
    refuse(&|body| provision(body).actors[0].role = 9, "actor.role");
    refuse(&|body| provision(body).purposes.push("TREAT".into()), "provision.purposes");
    refuse(&|body| provision(body).purposes = vec![String::new()], "provision.purposes");
    refuse(&|body| provision(body).actions = vec![6], "provision.actions");
    refuse(&|body| provision(body).classes[0].code = "x".repeat(65), "provision.classes");
    refuse(
        &|body| provision(body).data_period = Some(proto::Period { start_ms: 5, end_ms: 5 }),
        "provision.data_period",
    );
    refuse(
        &|body| {
            let copy = provision(body).clone();
            provision(body).provisions = vec![copy; 64];
        },
        "grant_consent.terms.provisions",
    );
    refuse(
        &|body| {
            for _ in 0..4 {
                let copy = provision(body).clone();
                *provision(body) = proto::Provision { provisions: vec![copy.clone()], ..copy };
            }
        },
        "grant_consent.terms.provisions",
    );
}

#[test]
fn a_transaction_counts_once_looked_up_together_or_alone() {
    let mut ledger = with_accounts();
    let stored = ledger.transaction(PATIENT, grant(CLINIC));
    ledger.group(std::slice::from_ref(&stored), true).unwrap();
    let open = ledger.transaction(PATIENT, grant(INSURER));
    ledger.group(std::slice::from_ref(&open), false).unwrap();
    let [new, late] = [(); 2].map(|()| ledger.transaction(CLINIC, request(&[PATIENT], "TREAT")));
    let citing = ledger.transaction(CLINIC, record(new.id, PATIENT));

    ledger.machine.begin_group(ledger.start()).unwrap();
    // What the group itself holds counts too: the second time, and as a request that is cited.
    let ids = [&stored, &open, &new, &citing].map(|transaction| transaction.id);
    ledger.machine.look_up(&ledger.store, &ids).unwrap();
    let mut outcomes = Vec::new();
    for transaction in [&stored, &open, &new, &new, &citing, &citing, &late, &late] {
        outcomes.push(ledger.machine.execute(&ledger.store, transaction).unwrap().err());
    }
    let duplicate = Some(RefusalReason::Duplicate);
    assert_eq!(outcomes, [duplicate, duplicate, None, duplicate, None, duplicate, None, duplicate]);
    let output = ledger.machine.end_group(true).unwrap();
    assert_eq!(output.executed[1].outcome.leaves().unwrap()[0].kind, OutcomeKind::AccessCovered);
}

#[test]
fn without_details_everything_else_is_the_same_and_none_is_put_out() {
    let [full, lean] = [false, true].map(|is_lean| {
        let mut ledger = with_accounts();
        if is_lean {
            ledger.machine = ledger.machine.without_details();
        }
        let granted = ledger.transaction(PATIENT, grant(CLINIC));
        let asked = ledger.transaction(CLINIC, request(&[PATIENT, INSURER], "TREAT"));
        ledger.group(&[granted, asked], true).unwrap();
        ledger.outputs.pop().unwrap()
    });
    assert_eq!(full.record_bytes, lean.record_bytes);
    assert_eq!(full.sealed.unwrap().header, lean.sealed.unwrap().header);
    for ((full, lean), leaves) in full.executed.iter().zip(&lean.executed).zip([1, 2]) {
        assert_eq!(full.entry, lean.entry);
        let (opened, details) = (full.outcome.leaves().unwrap(), full.outcome.details().unwrap());
        assert_eq!(opened, lean.outcome.leaves().unwrap());
        assert_eq!(opened.len(), leaves);
        // Each leaf carries its detail's hash, also where the detail is not put out.
        let hashes: Vec<_> = details.iter().map(|detail| detail.hash()).collect();
        assert_eq!(hashes, opened.iter().map(|leaf| leaf.detail_hash).collect::<Vec<_>>());
        assert!(lean.outcome.details().unwrap().is_empty());
    }
}
