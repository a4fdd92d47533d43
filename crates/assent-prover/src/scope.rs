//! Whose records a call may see: held to here, where the records are.

use assent_core::{
    AccountId, TransactionId,
    machine::StateRead,
    records::{ConsentRecord, Record, StateKey},
    transaction::{Act, Transaction},
};
use assent_gate::Scope;
use tonic::Status;

use crate::{Shared, bundle::BundleError, service::internal};

/// What an account is to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is the only one whom it is about: it may see the details of the decision.
    Subject,
    /// It signed it.
    Sender,
    /// One of several whom it is about: it may see what was decided about itself, and not the transaction, which names others.
    OneOfSeveral,
}

/// What an account is to a transaction; `None` for a stranger, and where there is no such transaction.
pub(crate) fn part(
    shared: &Shared,
    account: AccountId,
    id: &TransactionId,
) -> Result<Option<Part>, BundleError> {
    let Some(sequence) = shared.store.sequence_of(id)? else { return Ok(None) };
    let Some(row) = shared.store.entry(sequence)? else { return Ok(None) };
    let logged = shared.store.record(row.position)?.transactions.into_iter().nth(row.index as usize);
    let chain = shared.config.manifest.chain_id();
    let transaction = logged
        .and_then(|logged| Transaction::decode_logged(&chain, &logged).ok())
        .ok_or(BundleError::Inconsistent("the log record lacks the transaction"))?;
    let subjects: &[AccountId] = match &transaction.act {
        Act::RequestAccess { subjects, .. } => subjects,
        Act::RecordAccess { subject, .. } => std::slice::from_ref(subject),
        // What an account does to its own consents is about nobody else.
        _ => transaction.sender.as_slice(),
    };
    Ok(if subjects == [account] {
        Some(Part::Subject)
    } else if transaction.sender == Some(account) {
        Some(Part::Sender)
    } else {
        subjects.contains(&account).then_some(Part::OneOfSeveral)
    })
}

/// Whether a call may see a transaction; with `detail`, why it was decided so. A recipient never sees the detail by its own
/// key, nor one of several subjects the whole.
pub(crate) fn may_see_transaction(
    shared: &Shared,
    scope: Scope,
    id: &TransactionId,
    detail: bool,
) -> Result<bool, Status> {
    let Scope::Own(account) = scope else { return Ok(true) };
    let part = part(shared, account, id).map_err(internal)?;
    Ok(part == Some(Part::Subject) || (part == Some(Part::Sender) && !detail))
}

/// Whether a call may have the proof of a decision about a subject: the subject alone.
pub(crate) fn may_see_decision(
    shared: &Shared,
    scope: Scope,
    id: &TransactionId,
    subject: Option<AccountId>,
) -> Result<bool, Status> {
    let Scope::Own(account) = scope else { return Ok(true) };
    if subject.is_some_and(|subject| subject != account) || !has_account(shared, scope)? {
        return Ok(false);
    }
    Ok(match part(shared, account, id).map_err(internal)? {
        Some(Part::Subject) => true,
        // About itself, and it has to say so.
        Some(Part::OneOfSeveral) => subject == Some(account),
        Some(Part::Sender) | None => false,
    })
}

/// Whether whoever asks has an account. Keys can be made at will, and proofs of absence of keys of one's own making could be
/// used to search for somebody's records; accounts are on record.
pub(crate) fn has_account(shared: &Shared, scope: Scope) -> Result<bool, Status> {
    let Scope::Own(account) = scope else { return Ok(true) };
    Ok(shared.store.value(StateKey::account(account)).map_err(internal)?.is_some())
}

/// Whether a call may have the proof of a consent: its subject alone. A proof that it was never granted is for auditors:
/// whoever could ask for proofs of absence of keys of their own making could search for somebody's.
pub(crate) fn may_see_consent(shared: &Shared, scope: Scope, consent: TransactionId) -> Result<bool, Status> {
    let Scope::Own(account) = scope else { return Ok(true) };
    let value = shared.store.value(StateKey::consent(consent)).map_err(internal)?;
    let record = value.map(|value| ConsentRecord::decode(&value.record)).transpose().map_err(internal)?;
    Ok(record.is_some_and(|record| record.subject == account))
}
