//! Looking ahead at what the next transactions will read, so that the processor waits for memory once and not for each.
//!
//! A decision follows pointers: to a record's place, from there to the record, to its lists, to what these hold. With many
//! consents each step is one that no cache of the processor has, and execution waits for it. Here the same step is made for several
//! transactions, one right after the other, before the next step: a processor goes on to the next one while it waits for
//! memory, so that these waits pass at the same time. Nothing is decided or changed here.

use assent_merkle::CompactRange;

use crate::{
    AccountId, TransactionId,
    kept::{AnyRecord, Kept},
    records::{SeenTransaction, StateKey},
    terms::{Coding, ConsentTerms},
    transaction::{Act, RevokeBy, Transaction},
};

/// Transactions that are looked at together: enough to wait for many at a time, and so few that what was found is still in the
/// processor's cache when they are executed.
pub const LOOK_AHEAD: usize = 32;
/// Fewer are not worth it.
const FEWEST: usize = 4;
/// Subjects, and consents, that are looked at together: transactions that name more than usual, and may be refused yet, do not
/// cost more than others here.
const MOST: usize = 4 * LOOK_AHEAD;
/// Steps from a record to the last of what it holds.
const DEPTH: usize = 4;

/// What a step came by: a number that depends on it, so that the step has to be made.
type Traces = usize;

/// Looks at what these transactions will read, as far as it is in memory.
pub(crate) fn look<'a>(kept: &Kept, transactions: impl Iterator<Item = &'a Transaction>) {
    let (mut others, mut decided, mut cited) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0;
    for transaction in transactions.take(LOOK_AHEAD) {
        count += 1;
        match (&transaction.act, transaction.sender) {
            (Act::RequestAccess { subjects, .. }, Some(sender)) => {
                decided.extend(subjects.iter().map(|subject| (sender, *subject)));
            }
            (Act::RecordAccess { request, subject, .. }, Some(sender)) => {
                decided.push((sender, *subject));
                cited.push(*request);
            }
            (Act::GrantConsent { .. }, Some(sender)) => {
                others.extend([StateKey::account(sender), StateKey::subject_consents(sender)]);
            }
            (Act::RevokeConsent(RevokeBy::Consent(id)), _) => others.push(StateKey::consent(*id)),
            _ => {}
        }
    }
    if count < FEWEST {
        return;
    }
    decided.truncate(MOST);
    let mut keys: Vec<_> = decided.iter().map(|(_, subject)| StateKey::subject_consents(*subject)).collect();
    keys.extend(decided.iter().map(|(_, subject)| StateKey::subject_accesses(*subject)));
    keys.extend(decided.iter().map(|(recipient, _)| StateKey::actor(*recipient)));
    keys.extend(others);
    let records = kept.records(&keys);
    let cited = kept.transactions(&cited);
    let mut traces = 0;
    for depth in 0..DEPTH {
        traces ^= records.iter().flatten().fold(0, |traces, record| traces ^ of_record(record, depth));
        traces ^= cited.iter().flatten().fold(0, |traces, seen| traces ^ of_seen(seen, depth));
    }
    // The first ones are the subjects' consents.
    let consents: Vec<StateKey> = (decided.iter().zip(&records))
        .filter_map(|((recipient, _), record)| Some((recipient, (*record)?)))
        .flat_map(|(recipient, record)| addressed(record, *recipient))
        .take(MOST)
        .map(StateKey::consent)
        .collect();
    let records = kept.records(&consents);
    for depth in 0..DEPTH {
        traces ^= records.iter().flatten().fold(0, |traces, record| traces ^ of_record(record, depth));
    }
    std::hint::black_box(traces);
}

/// The consents of a subject that say something to a recipient, as far as that is known without reading them.
fn addressed(record: &AnyRecord, recipient: AccountId) -> impl Iterator<Item = TransactionId> + '_ {
    let consents = match record {
        AnyRecord::ActiveConsents(consents) => Some(consents),
        _ => None,
    };
    consents.into_iter().flat_map(move |consents| consents.known_to_address(recipient))
}

/// Steps on to what lies so many pointers away from a record's place.
fn of_record(record: &AnyRecord, depth: usize) -> Traces {
    match (record, depth) {
        // A decision reads only the size of their log.
        (AnyRecord::ActiveConsents(consents), 0) => of_size(consents.log()),
        (AnyRecord::ActiveConsents(consents), 1) => {
            consents.ids().fold(0, |traces, id| traces ^ usize::from(id.0[0]))
        }
        // Nobody's id, but each is compared with it.
        (AnyRecord::ActiveConsents(consents), 2) => consents.known_to_address(AccountId([0; 32])).count(),
        (AnyRecord::SubjectAccesses(accesses), 0) => of_size(&accesses.0),
        (AnyRecord::SubjectAccesses(accesses), 1) => of_peaks(&accesses.0),
        (AnyRecord::ActorAccesses(accesses), 0) => of_size(&accesses.0),
        (AnyRecord::ActorAccesses(accesses), 1) => of_peaks(&accesses.0),
        (AnyRecord::AccountRecord(account), 0) => account.keys.len(),
        (AnyRecord::Consent(consent), 0) => {
            usize::from(consent.is_revoked()) ^ consent.terms.provisions.len()
        }
        (AnyRecord::Consent(consent), depth) => of_terms(&consent.terms, depth),
        _ => 0,
    }
}

fn of_size(log: &CompactRange) -> Traces {
    log.peaks().len()
}

fn of_peaks(log: &CompactRange) -> Traces {
    log.peaks().iter().fold(0, |traces, peak| traces ^ usize::from(peak[0]))
}

fn of_terms(terms: &ConsentTerms, depth: usize) -> Traces {
    terms.provisions.iter().fold(0, |traces, provision| {
        traces
            ^ match depth {
                // A provision has several lines.
                1 => provision.actors.len() ^ provision.labels.len() ^ provision.provisions.len(),
                2 => {
                    let actors = provision.actors.first().map_or(0, |actor| usize::from(actor.account.0[0]));
                    let purposes =
                        provision.purposes.iter().fold(0, |traces, purpose| traces ^ purpose.len());
                    let codings = provision.classes.iter().chain(&provision.labels);
                    actors ^ purposes ^ codings.fold(0, |traces, coding| traces ^ coding.code.len())
                }
                _ => {
                    let purposes =
                        provision.purposes.iter().fold(0, |traces, purpose| traces ^ of_text(purpose));
                    provision.classes.iter().chain(&provision.labels).fold(purposes, of_coding)
                }
            }
    })
}

fn of_seen(seen: &SeenTransaction, depth: usize) -> Traces {
    match (depth, &seen.scope) {
        (0, _) => seen.decisions.len(),
        (1, Some(scope)) => scope.classes.len() ^ scope.labels.len() ^ usize::from(scope.custodian.0[0]),
        (1, None) => 0,
        (2, Some(scope)) => {
            let decided = seen.decisions.first().map_or(0, |(subject, _)| usize::from(subject.0[0]));
            scope
                .classes
                .iter()
                .chain(&scope.labels)
                .fold(decided, |traces, coding| traces ^ coding.code.len())
        }
        (_, Some(scope)) => {
            scope.classes.iter().chain(&scope.labels).fold(of_text(&scope.purpose), of_coding)
        }
        _ => 0,
    }
}

fn of_coding(traces: Traces, coding: &Coding) -> Traces {
    traces ^ of_text(&coding.system) ^ of_text(&coding.code)
}

fn of_text(text: &str) -> Traces {
    text.bytes().next().map_or(0, usize::from)
}
