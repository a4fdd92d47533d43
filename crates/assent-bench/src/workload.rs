//! A hospital's day from a seed: who there is, what they do, and the signed transactions of it.
//!
//! Patients have consents that name clinics; clinics ask for access and record what they read, mostly of patients who consented
//! to them. Patients grant and revoke. The same seed gives the same parties and the same acts; the salts differ from run to
//! run, so that a run can be repeated on one ledger.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    ops::Range,
    thread,
};

use assent_core::{
    AccountId, ChainId, TransactionId, codec::sha256, signature::KeyPair, transaction::AccountKind,
};
use assent_proto::v1::{self as proto, transaction_body::Act};
use bytes::Bytes;
use prost::Message;

use crate::random::Random;

/// Acts between a request and the records that cite it, between a grant and its revocation: what is under way at once must not
/// overtake what it relies on.
const LAG: usize = 20_000;
/// Transactions that are signed together.
const CHUNK: usize = 8_192;
/// Requests that wait to be cited. Older ones are forgotten.
const CITABLE: usize = 100_000;

/// Who there is.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct PopulationSize {
    /// Patients.
    pub patients: u32,
    /// Clinics: they ask for access, and record it.
    pub clinics: u32,
    /// Consents of each patient that are in force from the beginning, each naming one clinic.
    pub consents: u32,
}

/// Shares of the acts, in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mix {
    /// Patients grant a consent.
    pub grants: u32,
    /// Patients revoke one.
    pub revocations: u32,
    /// Clinics ask for access.
    pub requests: u32,
    /// Clinics record an access.
    pub records: u32,
}

impl Default for Mix {
    /// Accesses outnumber consents by far; what is granted is revoked some day, so that the ledger stays as large as it is.
    fn default() -> Self {
        Self { grants: 2, revocations: 2, requests: 36, records: 60 }
    }
}

impl Mix {
    /// Of all acts.
    #[must_use]
    pub fn sum(&self) -> u64 {
        [self.grants, self.revocations, self.requests, self.records].into_iter().map(u64::from).sum()
    }
}

impl std::str::FromStr for Mix {
    type Err = String;

    /// Reads `grants=2,revocations=2,requests=36,records=60`; what is not named is 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Self { grants: 0, revocations: 0, requests: 0, records: 0 };
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or(format!("{part:?} is not NAME=SHARE"))?;
            let share = match name.trim() {
                "grants" => &mut mix.grants,
                "revocations" => &mut mix.revocations,
                "requests" => &mut mix.requests,
                "records" => &mut mix.records,
                other => {
                    return Err(format!("{other:?} is none of grants, revocations, requests and records"));
                }
            };
            *share = value.trim().parse().map_err(|_| format!("{value:?} is no whole number"))?;
        }
        if mix.sum() == 0 { Err("all shares are 0".into()) } else { Ok(mix) }
    }
}

impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { grants, revocations, requests, records } = self;
        write!(f, "grants={grants},revocations={revocations},requests={requests},records={records}")
    }
}

/// A signed transaction as it is sent: encoded as field 1 of a message, which is a `SubmitRequest`, a `SubmitStreamRequest`, or
/// one part of a `SubmitManyRequest`.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Its id.
    pub id: TransactionId,
    /// Its place among all that are sent, over all lanes.
    pub number: usize,
    /// The message.
    pub message: Bytes,
}

/// Transactions in the order in which they are to be sent, by lane: what one party sends keeps its order within its lane.
#[derive(Debug, Default)]
pub struct Lanes(pub Vec<Vec<Prepared>>);

impl Lanes {
    /// Transactions of all lanes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

/// What is there of a population: for each patient the consents in force, `None` without an account. Empty where nothing is.
#[derive(Debug, Default)]
pub struct Found(pub Vec<Option<u32>>);

/// An act that is not signed yet.
struct Draft {
    sender: Sender,
    id: TransactionId,
    body: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Patient(u32),
    Clinic(u32),
}

/// A request that records may cite.
#[derive(Clone, Copy)]
struct Asked {
    at: usize,
    id: TransactionId,
    clinic: u32,
    patient: u32,
}

/// The parties of a seed, and what they do next.
pub struct Workload {
    size: PopulationSize,
    mix: Mix,
    chain: ChainId,
    patients: Vec<KeyPair>,
    clinics: Vec<KeyPair>,
    patient_ids: Vec<AccountId>,
    clinic_ids: Vec<AccountId>,
    acts: Random,
    salts: Random,
    expires_at_ms: u64,
    made: usize,
    granted: VecDeque<(usize, TransactionId, u32)>,
    /// All grants of the run, by patient.
    grants: BTreeMap<u32, HashSet<TransactionId>>,
    asked: VecDeque<Asked>,
}

fn keys(seed: u64, kind: &str, count: u32) -> Vec<KeyPair> {
    let key = |number: u32| {
        let text = format!("assent bench {kind} {seed} {number}");
        KeyPair::from_seed(sha256(text.as_bytes()))
    };
    in_parallel(count as usize, |range| range.map(|n| key(u32::try_from(n).unwrap_or(u32::MAX))).collect())
}

/// Parts of a list made on all cores, in order.
fn in_parallel<T: Send>(count: usize, make: impl Fn(Range<usize>) -> Vec<T> + Sync) -> Vec<T> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(workers).max(1);
    thread::scope(|scope| {
        let make = &make;
        let parts: Vec<_> = (0..count)
            .step_by(share)
            .map(|first| scope.spawn(move || make(first..(first + share).min(count))))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn classes() -> Vec<proto::Coding> {
    vec![proto::Coding { system: "http://hl7.org/fhir/resource-types".into(), code: "Observation".into() }]
}

fn revoke(consent: TransactionId) -> Act {
    let by = Some(proto::revoke_consent::By::ConsentId(consent.0.to_vec()));
    Act::RevokeConsent(proto::RevokeConsent { by })
}

impl Workload {
    /// The parties of a seed on a ledger. `salt` tells the runs apart; what is made expires at `expires_at_ms`.
    #[must_use]
    pub fn new(
        chain: ChainId,
        seed: u64,
        size: PopulationSize,
        mix: Mix,
        salt: u64,
        expires_at_ms: u64,
    ) -> Self {
        let (patients, clinics) = (keys(seed, "patient", size.patients), keys(seed, "clinic", size.clinics));
        let ids = |keys: &[KeyPair]| keys.iter().map(|key| key.public().account_id()).collect();
        Self {
            patient_ids: ids(&patients),
            clinic_ids: ids(&clinics),
            size,
            mix,
            chain,
            patients,
            clinics,
            acts: Random::new(seed),
            salts: Random::new(salt),
            expires_at_ms,
            made: 0,
            granted: VecDeque::new(),
            grants: BTreeMap::new(),
            asked: VecDeque::new(),
        }
    }

    /// The patients, in the order in which they are set up.
    #[must_use]
    pub fn patients(&self) -> &[AccountId] {
        &self.patient_ids
    }

    /// Accounts of all parties, and the consents that are in force from the beginning; those of one patient in one lane, in
    /// order. `there` says what an earlier run has left of it; `progress` is told how many are signed, and of how many.
    pub fn population(&mut self, lanes: usize, there: &Found, progress: impl FnMut(usize, usize)) -> Lanes {
        let open = |kind: AccountKind| Act::OpenAccount(proto::OpenAccount { kind: kind as i32 });
        let mut drafts = Vec::new();
        for clinic in 0..self.size.clinics {
            // One that is there already is refused, and nothing is lost.
            drafts.push(self.draft(Sender::Clinic(clinic), open(AccountKind::Organisation)));
        }
        for patient in 0..self.size.patients {
            let consents = there.0.get(patient as usize).copied().flatten();
            if consents.is_none() {
                drafts.push(self.draft(Sender::Patient(patient), open(AccountKind::Patient)));
            }
            for number in consents.unwrap_or(0)..self.size.consents {
                let clinic = self.clinic_of(patient, number);
                drafts.push(self.draft(Sender::Patient(patient), self.grant(clinic)));
            }
        }
        self.sign_all(drafts, lanes, progress)
    }

    /// Those for whom the run made grants, whether they were sent or not.
    #[must_use]
    pub fn granting_patients(&self) -> Vec<AccountId> {
        self.grants.keys().map(|patient| self.patient_ids[*patient as usize]).collect()
    }

    /// Revokes what the run granted and is in force: given for each of [`Self::granting_patients`], in their order.
    pub fn revocations(&mut self, in_force: &[Vec<TransactionId>], lanes: usize) -> Lanes {
        let grants = std::mem::take(&mut self.grants);
        let mut drafts = Vec::new();
        for ((patient, granted), in_force) in grants.into_iter().zip(in_force) {
            for consent in in_force.iter().filter(|consent| granted.contains(consent)) {
                drafts.push(self.draft(Sender::Patient(patient), revoke(*consent)));
            }
        }
        self.sign_all(drafts, lanes, |_, _| {})
    }

    fn sign_all(&self, drafts: Vec<Draft>, lanes: usize, mut progress: impl FnMut(usize, usize)) -> Lanes {
        let (mut made, total) = (Lanes(vec![Vec::new(); lanes]), drafts.len());
        for chunk in drafts.chunks(CHUNK) {
            self.sign(chunk, &mut made);
            progress(made.count(), total);
        }
        made
    }

    /// The next acts of the day.
    pub fn day(&mut self, count: usize, lanes: usize, mut progress: impl FnMut(usize, usize)) -> Lanes {
        let mut made = Lanes(vec![Vec::new(); lanes]);
        let mut left = count;
        while left > 0 {
            let chunk: Vec<Draft> = (0..left.min(CHUNK)).map(|_| self.act()).collect();
            left -= chunk.len();
            self.sign(&chunk, &mut made);
            progress(count - left, count);
        }
        made
    }

    /// The clinic that a patient's consent names.
    fn clinic_of(&self, patient: u32, number: u32) -> u32 {
        let place = u64::from(patient).wrapping_mul(0x9e37_79b9) + u64::from(number) * 7;
        u32::try_from(place % u64::from(self.size.clinics)).unwrap_or(0)
    }

    fn grant(&self, clinic: u32) -> Act {
        let account = self.clinic_ids[clinic as usize].0.to_vec();
        let provision = proto::Provision {
            effect: proto::Effect::Permit as i32,
            actors: vec![proto::Actor { role: proto::ActorRole::Recipient as i32, account }],
            purposes: vec!["TREAT".into()],
            actions: vec![proto::Action::Access as i32],
            classes: classes(),
            ..Default::default()
        };
        let terms = proto::ConsentTerms { provisions: vec![provision], ..Default::default() };
        Act::GrantConsent(proto::GrantConsent { terms: Some(terms), ..Default::default() })
    }

    fn scope(&self, clinic: u32) -> proto::AccessScope {
        proto::AccessScope {
            custodian: self.clinic_ids[clinic as usize].0.to_vec(),
            purpose: "TREAT".into(),
            action: proto::Action::Access as i32,
            classes: classes(),
            ..Default::default()
        }
    }

    fn act(&mut self) -> Draft {
        self.made += 1;
        let ready = self.made.saturating_sub(LAG);
        let Mix { grants, revocations, requests, .. } = self.mix;
        let (grants, revocations, requests) =
            (u64::from(grants), u64::from(revocations), u64::from(requests));
        let drawn = self.acts.below(self.mix.sum());
        if drawn < grants {
            let patient = self.patient();
            let clinic = u32::try_from(self.acts.below(self.size.clinics.into())).unwrap_or(0);
            let draft = self.draft(Sender::Patient(patient), self.grant(clinic));
            self.granted.push_back((self.made, draft.id, patient));
            self.grants.entry(patient).or_default().insert(draft.id);
            return draft;
        }
        if drawn < grants + revocations
            && let Some((_, consent, patient)) = self.granted.front().copied().filter(|(at, ..)| *at <= ready)
        {
            self.granted.pop_front();
            return self.draft(Sender::Patient(patient), revoke(consent));
        }
        let citable = self.asked.partition_point(|asked| asked.at <= ready);
        if drawn >= grants + revocations + requests && citable > 0 {
            let place = usize::try_from(self.acts.below(citable as u64)).unwrap_or(0);
            let Asked { id, clinic, patient, .. } = self.asked[place];
            let act = Act::RecordAccess(proto::RecordAccess {
                request_id: id.0.to_vec(),
                subject: self.patient_ids[patient as usize].0.to_vec(),
                scope: Some(self.scope(clinic)),
            });
            return self.draft(Sender::Clinic(clinic), act);
        }
        let patient = self.patient();
        // One in ten asks without consent, and is denied.
        let consented = self.size.consents > 0 && self.acts.below(10) > 0;
        let clinic = if consented {
            let number = u32::try_from(self.acts.below(self.size.consents.into())).unwrap_or(0);
            self.clinic_of(patient, number)
        } else {
            u32::try_from(self.acts.below(self.size.clinics.into())).unwrap_or(0)
        };
        let subjects = vec![self.patient_ids[patient as usize].0.to_vec()];
        let act = Act::RequestAccess(proto::RequestAccess { subjects, scope: Some(self.scope(clinic)) });
        let draft = self.draft(Sender::Clinic(clinic), act);
        if consented {
            self.asked.push_back(Asked { at: self.made, id: draft.id, clinic, patient });
            if self.asked.len() > CITABLE {
                self.asked.pop_front();
            }
        }
        draft
    }

    fn patient(&mut self) -> u32 {
        u32::try_from(self.acts.below(self.size.patients.into())).unwrap_or(0)
    }

    fn draft(&mut self, sender: Sender, act: Act) -> Draft {
        let account = match sender {
            Sender::Patient(number) => self.patient_ids[number as usize],
            Sender::Clinic(number) => self.clinic_ids[number as usize],
        };
        let body = proto::TransactionBody {
            chain_id: self.chain.0.to_vec(),
            sender: account.0.to_vec(),
            salt: self.salts.bytes::<16>().to_vec(),
            expires_at_ms: self.expires_at_ms,
            act: Some(act),
        }
        .encode_to_vec();
        Draft { sender, id: TransactionId::of_body(&body), body }
    }

    fn key(&self, sender: Sender) -> &KeyPair {
        match sender {
            Sender::Patient(number) => &self.patients[number as usize],
            Sender::Clinic(number) => &self.clinics[number as usize],
        }
    }

    /// Signs a chunk on all cores and adds it to the lanes.
    fn sign(&self, chunk: &[Draft], made: &mut Lanes) {
        let count = made.0.len().max(1);
        let lane = |sender| match sender {
            Sender::Patient(number) | Sender::Clinic(number) => number as usize % count,
        };
        let signed = in_parallel(chunk.len(), |range| {
            // One allocation for all of a part: its transactions are slices of it.
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for draft in &chunk[range.clone()] {
                let signed = sign_encoded(&draft.body, draft.id, self.key(draft.sender));
                proto::SubmitRequest { transaction: Some(signed) }.encode(&mut bytes).unwrap_or_default();
                ends.push(bytes.len());
            }
            let bytes = Bytes::from(bytes);
            let starts = [0].into_iter().chain(ends.iter().copied());
            let parts = starts.zip(&ends).map(|(start, end)| bytes.slice(start..*end));
            chunk[range].iter().zip(parts).map(|(d, message)| (d.sender, d.id, message)).collect()
        });
        let first = made.count();
        for (number, (sender, id, message)) in (first..).zip(signed) {
            made.0[lane(sender)].push(Prepared { id, number, message });
        }
    }
}

fn sign_encoded(body: &[u8], id: TransactionId, key: &KeyPair) -> proto::SignedTransaction {
    let authorization = proto::Authorization {
        scheme: proto::SignatureScheme::Ed25519 as i32,
        public_key: key.public().0.to_vec(),
        signature: key.sign(&id.0).to_vec(),
    };
    proto::SignedTransaction { body: body.to_vec().into(), authorizations: vec![authorization] }
}

#[cfg(test)]
mod tests {
    use assent_core::transaction::Transaction;

    use super::*;

    fn size() -> PopulationSize {
        PopulationSize { patients: 20, clinics: 5, consents: 2 }
    }

    fn decode(prepared: &Prepared) -> Transaction {
        let request = proto::SubmitRequest::decode(prepared.message.clone()).unwrap();
        let transaction = Transaction::decode(&ChainId([4; 32]), &request.transaction.unwrap()).unwrap();
        transaction.verify_signatures().unwrap();
        assert_eq!(transaction.id, prepared.id);
        transaction
    }

    #[test]
    fn a_seed_gives_the_same_acts_and_each_run_its_own_ids() {
        let make = |salt| {
            let mut workload = Workload::new(ChainId([4; 32]), 7, size(), Mix::default(), salt, 1 << 40);
            let population = workload.population(3, &Found::default(), |_, _| {});
            (population, workload.day(200, 3, |_, _| {}))
        };
        let ((population, day), (_, again), (_, other)) = (make(1), make(1), make(2));
        assert_eq!(population.count(), 5 + 20 * 3);
        assert_eq!(day.count(), 200);
        let all = |lanes: &Lanes| lanes.0.iter().flatten().cloned().collect::<Vec<_>>();
        let parties = |lanes: &Lanes| all(lanes).iter().map(|p| decode(p).sender).collect::<Vec<_>>();
        assert!(all(&day).iter().zip(all(&again)).all(|(a, b)| a.id == b.id && a.message == b.message));
        assert!(all(&day).iter().zip(all(&other)).all(|(a, b)| a.id != b.id));
        assert_eq!(parties(&day), parties(&other));
    }

    #[test]
    fn what_is_there_of_a_population_is_not_made_again() {
        let mut workload = Workload::new(ChainId([4; 32]), 7, size(), Mix::default(), 1, 1 << 40);
        let whole = Found(vec![Some(2); 20]);
        // Accounts of clinics only.
        assert_eq!(workload.population(3, &whole, |_, _| {}).count(), 5);
        let mut part = whole;
        part.0[4] = Some(1);
        part.0[19] = None;
        assert_eq!(workload.population(3, &part, |_, _| {}).count(), 5 + 1 + 3);
    }

    #[test]
    fn what_a_run_granted_and_is_in_force_is_revoked() {
        let mix = Mix { grants: 1, revocations: 0, requests: 0, records: 0 };
        let mut workload = Workload::new(ChainId([4; 32]), 7, size(), mix, 1, 1 << 40);
        let day = workload.day(100, 3, |_, _| {});
        let patients = workload.granting_patients();
        let earlier = TransactionId([9; 32]);
        let in_force: Vec<Vec<_>> = patients
            .iter()
            .map(|patient| {
                let of = day.0.iter().flatten().filter(|p| decode(p).sender == Some(*patient));
                // One was revoked, or never sent.
                of.map(|grant| grant.id).skip(1).chain([earlier]).collect()
            })
            .collect();
        let revocations = workload.revocations(&in_force, 3);
        assert_eq!(revocations.count(), 100 - patients.len());
        for revocation in revocations.0.iter().flatten().map(decode) {
            let assent_core::transaction::Act::RevokeConsent(by) = revocation.act else { panic!() };
            let assent_core::transaction::RevokeBy::Consent(consent) = by else { panic!() };
            let place = patients.iter().position(|patient| Some(*patient) == revocation.sender).unwrap();
            assert!(consent != earlier && in_force[place].contains(&consent));
        }
    }

    #[test]
    fn a_mix_is_read_and_shown() {
        let mix: Mix = "grants=1, requests=3".parse().unwrap();
        assert_eq!(mix, Mix { grants: 1, revocations: 0, requests: 3, records: 0 });
        assert_eq!(mix.to_string().parse::<Mix>().unwrap(), mix);
        for wrong in ["", "grants", "reads=1", "grants=x", "grants=0"] {
            wrong.parse::<Mix>().unwrap_err();
        }
    }

    #[test]
    fn records_cite_requests_and_revocations_end_grants_of_the_run() {
        let mix = Mix { grants: 10, revocations: 10, requests: 40, records: 40 };
        let mut workload = Workload::new(ChainId([4; 32]), 7, size(), mix, 1, 1 << 40);
        let mut kinds = [0; 4];
        for _ in 0..LAG + 2_000 {
            let body = proto::TransactionBody::decode(workload.act().body.as_slice()).unwrap();
            match body.act.unwrap() {
                Act::GrantConsent(_) => kinds[0] += 1,
                Act::RevokeConsent(_) => kinds[1] += 1,
                Act::RequestAccess(_) => kinds[2] += 1,
                Act::RecordAccess(_) => kinds[3] += 1,
                Act::OpenAccount(_) => unreachable!(),
            }
        }
        assert!(kinds[0] > 2_000 && kinds[1] > 100 && kinds[3] > 500, "{kinds:?}");
    }
}
