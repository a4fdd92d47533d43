//! What each act does to state. Deterministic; a refusal comes before the first write.

use std::sync::Arc;

use arrayvec::ArrayVec;
use assent_merkle::root_of_leaf_hashes;

use crate::{
    AccountId, Hash, TransactionId,
    batch::RefusalReason,
    codec::DecodeError,
    kept::Decoded,
    limits,
    machine::{StateError, StateRead, View},
    manifest::LedgerLimits,
    outcome::{AccessQuestion, Detail, Entry, Executed, OutcomeKind, OutcomeLeaf},
    policy::{self, Addressees, CitedRequest, Decision, Question, Reason},
    records::{
        AccessLogLeaf, AccountRecord, ActiveConsents, ActorAccesses, ActorLogLeaf, Consent, ConsentLogLeaf,
        ConsentRecord, Moment, RevocationCodeRecord, SeenTransaction, StateKey, SubjectAccesses,
    },
    ruleset::{CONFIDENTIALITY_SYSTEM, PURPOSE_SYSTEM, Ruleset, SENSITIVITY_SYSTEM},
    terms::{Coding, ConsentTerms, Effect, Provision},
    transaction::{AccessScope, Act, RevokeBy, Transaction, revocation_code_hash},
};

/// What decides.
pub(crate) struct Rules<'a> {
    pub(crate) ruleset: &'a Ruleset,
    pub(crate) limits: &'a LedgerLimits,
}

/// What a consent that does not address the recipient amounts to.
static SILENT: ConsentTerms = ConsentTerms { default_effect: None, period: None, provisions: Vec::new() };

type Refusable<T> = Result<Result<T, RefusalReason>, StateError>;

/// A refusal leaves the function, as `?` does for an error.
macro_rules! allow {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reason) => return Ok(Err(reason)),
        }
    };
}

/// A leaf that is written: whom a decision is about, until when it permits, and the leaf's hash.
struct WrittenLeaf {
    subject: AccountId,
    permit_until_ms: u64,
    hash: Hash,
}

/// Those of one transaction.
type WrittenLeaves = ArrayVec<WrittenLeaf, { limits::MAX_SUBJECTS }>;

/// Executes one transaction as the entry with this sequence.
pub(crate) fn execute<S: StateRead>(
    rules: &Rules<'_>,
    view: &mut View<'_, S>,
    sequence: u64,
    transaction: &Transaction,
) -> Refusable<Executed> {
    let at = Moment { sequence, time_ms: view.time_ms() };
    if transaction.expires_at_ms <= at.time_ms {
        return Ok(Err(RefusalReason::Expired));
    }
    if transaction.expires_at_ms - at.time_ms > rules.limits.max_validity_ms {
        return Ok(Err(RefusalReason::ExpiryTooFar));
    }
    if view.seen(&transaction.id)?.is_some() {
        return Ok(Err(RefusalReason::Duplicate));
    }
    view.outcomes.begin();
    let mut context = Context { rules, view, transaction, at };
    match (&transaction.act, transaction.sender) {
        (Act::OpenAccount(kind), Some(sender)) => {
            if context.view.read::<AccountRecord>(StateKey::account(sender))?.is_some() {
                return Ok(Err(RefusalReason::AccountExists));
            }
            let keys = transaction.authorizations.iter().map(|authorization| authorization.key).collect();
            let record = AccountRecord { kind: *kind, opened_sequence: sequence, keys };
            context.view.write(StateKey::account(sender), record);
            Ok(Ok(context.act(OutcomeKind::AccountOpened, sender.0, 0)))
        }
        (Act::GrantConsent { terms, revocation_code_hash, source_hash }, Some(sender)) => {
            allow!(context.require_account(sender)?);
            context.grant(sender, terms, *revocation_code_hash, *source_hash)
        }
        (Act::RevokeConsent(by), sender) => context.revoke(*by, sender),
        (Act::RequestAccess { subjects, scope }, Some(sender)) => {
            allow!(context.require_actor(sender)?);
            context.request(sender, subjects, scope)
        }
        (Act::RecordAccess { request, subject, scope }, Some(sender)) => {
            allow!(context.require_actor(sender)?);
            context.record(sender, *request, *subject, scope)
        }
        // Decoding lets only revocations through without a sender.
        (_, None) => Ok(Err(RefusalReason::UnknownAccount)),
    }
}

struct Context<'a, 'v, S> {
    rules: &'a Rules<'a>,
    view: &'a mut View<'v, S>,
    transaction: &'a Transaction,
    at: Moment,
}

impl<S: StateRead> Context<'_, '_, S> {
    fn id(&self) -> TransactionId {
        self.transaction.id
    }

    fn require_account(&mut self, account: AccountId) -> Refusable<()> {
        Ok(match self.view.read::<AccountRecord>(StateKey::account(account))? {
            Some(_) => Ok(()),
            None => Err(RefusalReason::UnknownAccount),
        })
    }

    /// The account of somebody who asks or read. Only accounts have a log of that, which is needed in any case.
    fn require_actor(&mut self, account: AccountId) -> Refusable<()> {
        match self.view.read::<ActorAccesses>(StateKey::actor(account))? {
            Some(_) => Ok(Ok(())),
            None => self.require_account(account),
        }
    }

    /// A record to be changed; a new one where there is none.
    fn taken<R: Decoded + Clone + Default>(&mut self, key: StateKey) -> Result<R, StateError> {
        Ok(self.view.read(key)?.map(Arc::unwrap_or_clone).unwrap_or_default())
    }

    /// Makes the entry of these leaves and remembers the transaction.
    fn finish(&mut self, leaves: &[WrittenLeaf]) -> Executed {
        let is_request = matches!(self.transaction.act, Act::RequestAccess { .. });
        let decisions =
            leaves.iter().filter(|_| is_request).map(|leaf| (leaf.subject, leaf.permit_until_ms)).collect();
        let sender = self.transaction.sender;
        let scope = match &self.transaction.act {
            Act::RequestAccess { scope, .. } => Some(scope.clone()),
            _ => None,
        };
        self.view.remember(self.id(), SeenTransaction { at: self.at, sender, decisions, scope });
        let entry = Entry {
            sequence: self.at.sequence,
            time_ms: self.at.time_ms,
            transaction_id: self.id(),
            authorizations_hash: self.transaction.authorizations_hash(),
            outcome_root: match leaves {
                [leaf] => leaf.hash,
                leaves => root_of_leaf_hashes(&leaves.iter().map(|leaf| leaf.hash).collect::<Vec<_>>()),
            },
        };
        let entry_leaf_hash = entry.leaf_hash();
        Executed { entry, entry_leaf_hash, outcome: self.view.outcomes.end() }
    }

    /// An act that is no decision: one leaf.
    fn act(&mut self, kind: OutcomeKind, object: Hash, consent_log_size: u64) -> Executed {
        let detail = Detail::of_act(self.view.detail_salt(&self.id(), 0), consent_log_size);
        let leaf = OutcomeLeaf {
            kind,
            object,
            question: None,
            permit_until_ms: 0,
            obligations: Vec::new(),
            detail_hash: self.view.outcomes.detail(&detail),
        };
        let hash = self.view.outcomes.leaf(&leaf);
        self.finish(&[WrittenLeaf { subject: AccountId(object), permit_until_ms: 0, hash }])
    }

    fn grant(
        &mut self,
        subject: AccountId,
        terms: &ConsentTerms,
        code_hash: Option<Hash>,
        source_hash: Option<Hash>,
    ) -> Refusable<Executed> {
        if !terms.provisions.iter().all(|provision| self.knows_provision(provision)) {
            return Ok(Err(RefusalReason::UnknownCode));
        }
        let key = StateKey::subject_consents(subject);
        let mut consents: ActiveConsents = self.taken(key)?;
        if consents.ids().len() >= limits::MAX_ACTIVE_CONSENTS {
            return Ok(Err(RefusalReason::TooManyConsents));
        }
        if let Some(hash) = code_hash {
            let code = StateKey::revocation_code(hash);
            if self.view.read::<RevocationCodeRecord>(code)?.is_some() {
                return Ok(Err(RefusalReason::RevocationCodeTaken));
            }
            self.view.write(code, RevocationCodeRecord(self.id()));
        }
        let record = ConsentRecord {
            subject,
            granted: self.at,
            revoked: None,
            revocation_code_hash: code_hash,
            source_hash,
            terms_salt: self.transaction.salt.clone(),
            terms: terms.encode(),
        };
        let terms_hash = record.terms_hash();
        self.view.write(StateKey::consent(self.id()), Consent::new(record, terms.clone()));
        let executed = self.act(OutcomeKind::ConsentGranted, self.id().0, consents.log().size());
        consents.add(self.id(), terms_hash, terms);
        self.log_consents(key, consents, &executed);
        Ok(Ok(executed))
    }

    fn revoke(&mut self, by: RevokeBy, sender: Option<AccountId>) -> Refusable<Executed> {
        let id = match by {
            RevokeBy::Consent(id) => id,
            RevokeBy::Code(code) => {
                let key = StateKey::revocation_code(revocation_code_hash(&code));
                match self.view.read::<RevocationCodeRecord>(key)? {
                    Some(record) => record.0,
                    // Nobody signed this, so an unknown code is no revocation that anyone could claim to have made.
                    None => return Ok(Err(RefusalReason::UnknownRevocationCode)),
                }
            }
        };
        let consent: Option<Arc<Consent>> = self.view.read(StateKey::consent(id))?;
        let by_code = matches!(by, RevokeBy::Code(_));
        let entitled =
            consent.filter(|consent| !consent.is_revoked() && (by_code || sender == Some(consent.subject())));
        let Some(consent) = entitled else {
            return Ok(Ok(self.act(OutcomeKind::RevocationWithoutEffect, id.0, 0)));
        };
        let mut consent = Arc::unwrap_or_clone(consent);
        consent.revoke(self.at);
        let key = StateKey::subject_consents(consent.subject());
        self.view.write(StateKey::consent(id), consent);
        let mut consents: ActiveConsents = self.taken(key)?;
        let executed = self.act(OutcomeKind::ConsentRevoked, id.0, consents.log().size());
        consents.remove(id);
        self.log_consents(key, consents, &executed);
        Ok(Ok(executed))
    }

    fn log_consents(&mut self, key: StateKey, mut consents: ActiveConsents, executed: &Executed) {
        let leaf = ConsentLogLeaf {
            at: self.at,
            entry_leaf_hash: executed.entry_leaf_hash,
            active_digest: consents.active_digest(),
        };
        self.view.append(key, consents.log_mut(), &leaf);
        self.view.write(key, consents);
    }

    fn request(
        &mut self,
        recipient: AccountId,
        subjects: &[AccountId],
        scope: &Arc<AccessScope>,
    ) -> Refusable<Executed> {
        if !self.knows_scope(scope) {
            return Ok(Err(RefusalReason::UnknownCode));
        }
        let mut decided = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let (decision, log_size) = self.decide(recipient, *subject, scope)?;
            let kind = match decision.effect {
                Effect::Permit => OutcomeKind::AccessPermitted,
                Effect::Deny => OutcomeKind::AccessDenied,
            };
            decided.push((*subject, kind, decision, log_size));
        }
        self.decisions(recipient, scope, decided)
    }

    fn record(
        &mut self,
        recipient: AccountId,
        request: TransactionId,
        subject: AccountId,
        scope: &Arc<AccessScope>,
    ) -> Refusable<Executed> {
        if !self.knows_scope(scope) {
            return Ok(Err(RefusalReason::UnknownCode));
        }
        let (decision, log_size) = self.decide(recipient, subject, scope)?;
        let fault = self.cited_fault(recipient, request, subject, scope)?;
        let decision = policy::with_fault(decision, fault);
        let kind = match decision.effect {
            Effect::Permit => OutcomeKind::AccessCovered,
            Effect::Deny => OutcomeKind::AccessUncovered,
        };
        self.decisions(recipient, scope, vec![(subject, kind, decision, log_size)])
    }

    /// Why a record cannot rely on the request that it cites.
    fn cited_fault(
        &mut self,
        recipient: AccountId,
        request: TransactionId,
        subject: AccountId,
        read: &AccessScope,
    ) -> Result<Option<Reason>, StateError> {
        let seen = self.view.seen(&request)?.filter(|seen| seen.sender == Some(recipient));
        let cited = seen.as_ref().and_then(|seen| {
            let (_, until) = seen.decisions.iter().find(|(about, _)| *about == subject)?;
            Some(CitedRequest {
                time_ms: seen.at.time_ms,
                permit_until_ms: *until,
                scope: seen.scope.as_deref()?,
            })
        });
        Ok(policy::cited_fault(cited, self.at.time_ms, self.rules.limits.max_validity_ms, read))
    }

    /// Decides about one subject, and says how long its consent log is.
    fn decide(
        &mut self,
        recipient: AccountId,
        subject: AccountId,
        scope: &AccessScope,
    ) -> Result<(Decision, u64), StateError> {
        let key = StateKey::subject_consents(subject);
        let Some(consents) = self.view.read::<ActiveConsents>(key)? else {
            let known = self.view.read::<AccountRecord>(StateKey::account(subject))?.is_some();
            let reason = if known { Reason::NoConsent } else { Reason::UnknownSubject };
            return Ok((Decision::denied(reason), 0));
        };
        let addressees = consents.addressees(|id| Ok(Addressees::of(&self.consent(id)?.terms)))?;
        let mut active = Vec::with_capacity(addressees.len());
        for (id, addressees) in consents.ids().zip(addressees) {
            let consent = addressees.include(&recipient).then(|| self.consent(id)).transpose()?;
            active.push((id, consent));
        }
        let active: Vec<(TransactionId, &ConsentTerms)> = active
            .iter()
            .map(|(id, consent)| (*id, consent.as_ref().map_or(&SILENT, |consent| &consent.terms)))
            .collect();
        let question = Question { recipient, scope, time_ms: self.at.time_ms };
        Ok((policy::decide(self.rules.ruleset, &question, &active), consents.log().size()))
    }

    /// A consent in force.
    fn consent(&mut self, id: TransactionId) -> Result<Arc<Consent>, StateError> {
        self.view.read(StateKey::consent(id))?.ok_or_else(|| StateError::Corrupt {
            key: id.to_string(),
            source: DecodeError::invalid("consent", "active, but not in state"),
        })
    }

    /// The entry of one or more decisions, and their leaves in the access logs.
    fn decisions(
        &mut self,
        recipient: AccountId,
        scope: &Arc<AccessScope>,
        decided: Vec<(AccountId, OutcomeKind, Decision, u64)>,
    ) -> Refusable<Executed> {
        let mut leaves = WrittenLeaves::new();
        let actor_key = StateKey::actor(recipient);
        let mut actor: ActorAccesses = self.taken(actor_key)?;
        for (index, (subject, kind, mut decision, log_size)) in decided.into_iter().enumerate() {
            let salt = self.view.detail_salt(&self.id(), u16::try_from(index).unwrap_or(u16::MAX));
            let obligations = std::mem::take(&mut decision.obligations);
            let detail = Detail::of_decision(salt, log_size, decision);
            let permit_until_ms = match kind {
                OutcomeKind::AccessPermitted => self.at.time_ms + self.rules.limits.permit_validity_ms,
                _ => 0,
            };
            let leaf = OutcomeLeaf {
                kind,
                object: subject.0,
                question: Some(AccessQuestion { recipient, scope: scope.clone() }),
                permit_until_ms,
                obligations,
                detail_hash: self.view.outcomes.detail(&detail),
            };
            let decision_leaf_hash = self.view.outcomes.leaf(&leaf);
            let key = StateKey::subject_accesses(subject);
            let mut accesses: SubjectAccesses = self.taken(key)?;
            let (at, id) = (self.at, self.id());
            let access = AccessLogLeaf { at, id, decision_leaf_hash, consent_log_size: log_size };
            self.view.append(key, &mut accesses.0, &access);
            self.view.write(key, accesses);
            self.view.append(actor_key, &mut actor.0, &ActorLogLeaf { at, id, decision_leaf_hash });
            leaves.push(WrittenLeaf { subject, permit_until_ms, hash: decision_leaf_hash });
        }
        self.view.write(actor_key, actor);
        Ok(Ok(self.finish(&leaves)))
    }

    fn knows_scope(&self, scope: &AccessScope) -> bool {
        self.knows_purpose(&scope.purpose) && scope.labels.iter().all(|label| self.knows_label(label))
    }

    fn knows_provision(&self, provision: &Provision) -> bool {
        provision.purposes.iter().all(|purpose| self.knows_purpose(purpose))
            && provision.labels.iter().all(|label| self.knows_label(label))
            && provision.provisions.iter().all(|child| self.knows_provision(child))
    }

    fn knows_purpose(&self, purpose: &str) -> bool {
        self.rules.ruleset.knows(PURPOSE_SYSTEM, purpose)
    }

    /// A label of the ruleset's systems must be one of their codes, or a typing error would silently protect nothing.
    /// Labels of other systems match only themselves.
    fn knows_label(&self, label: &Coding) -> bool {
        let ours = [SENSITIVITY_SYSTEM, CONFIDENTIALITY_SYSTEM].contains(&label.system.as_str());
        !ours || self.rules.ruleset.knows(&label.system, &label.code)
    }
}
