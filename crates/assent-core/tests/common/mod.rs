//! A small ledger in memory and transactions for it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use assent_core::{
    AccountId, TransactionId,
    batch::BaseBlock,
    log::LogRecord,
    machine::{ClosedBatch, Cursor, GroupOutput, GroupStart, Machine, StateError, StateRead},
    manifest::{BaseNetwork, GenesisManifest, LedgerLimits, OutPoint},
    records::{SeenTransaction, StateKey, StateValue},
    ruleset::Ruleset,
    signature::KeyPair,
    transaction::{Transaction, sign_body},
};
use assent_proto::v1 as proto;
use proto::transaction_body::Act;

pub const START_MS: u64 = 1_700_000_000_000;

#[derive(Default)]
pub struct MemoryStore {
    pub state: BTreeMap<StateKey, StateValue>,
    pub seen: BTreeMap<TransactionId, Arc<SeenTransaction>>,
}

impl StateRead for MemoryStore {
    fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError> {
        Ok(self.state.get(&key).cloned())
    }

    fn seen(&self, id: &TransactionId) -> Result<Option<Arc<SeenTransaction>>, StateError> {
        Ok(self.seen.get(id).cloned())
    }
}

impl MemoryStore {
    pub fn flush(&mut self, batch: &ClosedBatch) {
        self.state.extend(batch.state.clone());
        self.seen.extend(batch.seen.clone());
    }
}

pub fn manifest() -> GenesisManifest {
    GenesisManifest {
        nonce: [9; 32],
        created_ms: START_MS,
        sequencer_key: KeyPair::from_seed([100; 32]).public(),
        prover_key: KeyPair::from_seed([101; 32]).public(),
        base: BaseNetwork { name: "regtest".into(), genesis_hash: [6; 32] },
        first_anchor: OutPoint { txid: [8; 32], vout: 0 },
        ruleset: 1,
        ruleset_hash: Ruleset::numbered(1).unwrap().hash(),
        limits: LedgerLimits::default(),
    }
}

pub fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

pub fn account(n: u8) -> AccountId {
    key(n).public().account_id()
}

pub struct Ledger {
    pub manifest: Arc<GenesisManifest>,
    pub machine: Machine,
    pub store: MemoryStore,
    pub time_ms: u64,
    pub salts: u64,
    pub records: Vec<LogRecord>,
    pub outputs: Vec<GroupOutput>,
}

impl Ledger {
    pub fn new() -> Self {
        let manifest = Arc::new(manifest());
        Self {
            machine: Machine::new(manifest.clone(), Cursor::genesis(&manifest)).unwrap(),
            manifest,
            store: MemoryStore::default(),
            time_ms: START_MS,
            salts: 0,
            records: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// A transaction of account `n`, valid for an hour.
    pub fn transaction(&mut self, n: u8, act: Act) -> Transaction {
        self.salts += 1;
        let by_code = matches!(
            &act,
            Act::RevokeConsent(proto::RevokeConsent {
                by: Some(proto::revoke_consent::By::RevocationCode(_))
            })
        );
        let mut salt = vec![0; 16];
        salt[8..].copy_from_slice(&self.salts.to_be_bytes());
        let body = proto::TransactionBody {
            chain_id: self.manifest.chain_id().0.to_vec(),
            sender: if by_code { vec![] } else { account(n).0.to_vec() },
            salt,
            expires_at_ms: self.time_ms + 3_600_000,
            act: Some(act),
        };
        let signed = sign_body(&body, (!by_code).then(|| key(n)).as_ref());
        let transaction = Transaction::decode(&self.manifest.chain_id(), &signed).unwrap();
        transaction.verify_signatures().unwrap();
        transaction
    }

    /// What a record's group began with.
    pub fn start_of(&self, record: &LogRecord) -> GroupStart {
        GroupStart {
            epoch: record.epoch,
            time_ms: record.time_ms,
            time_confirmed: record.time_confirmed,
            seed: record.seed,
            base: record.base,
        }
    }

    pub fn start(&self) -> GroupStart {
        GroupStart {
            epoch: 1,
            time_ms: self.time_ms,
            time_confirmed: false,
            seed: [u8::try_from(self.records.len() % 251).unwrap(); 32],
            base: BaseBlock {
                height: u32::try_from(self.records.len()).unwrap(),
                hash: [3; 32],
                median_time_s: u32::try_from(self.time_ms / 1000).unwrap(),
            },
        }
    }

    /// Runs a group; which of its transactions were refused is seen from what was executed.
    pub fn group(&mut self, transactions: &[Transaction], seal: bool) -> Option<&GroupOutput> {
        self.machine.begin_group(self.start()).unwrap();
        for transaction in transactions {
            let _ = self.machine.execute(&self.store, transaction).unwrap();
        }
        let output = self.machine.end_group(seal)?;
        if let Some(sealed) = &output.sealed {
            self.store.flush(&sealed.content);
        }
        self.records.push(output.record.clone());
        self.outputs.push(output);
        self.outputs.last()
    }

    /// Runs one transaction in a group of its own and says what became of it.
    pub fn one(
        &mut self,
        n: u8,
        act: Act,
    ) -> Result<assent_core::outcome::Executed, assent_core::batch::RefusalReason> {
        let transaction = self.transaction(n, act);
        self.submit(&transaction)
    }

    pub fn submit(
        &mut self,
        transaction: &Transaction,
    ) -> Result<assent_core::outcome::Executed, assent_core::batch::RefusalReason> {
        self.machine.begin_group(self.start()).unwrap();
        let result = self.machine.execute(&self.store, transaction).unwrap();
        let output = self.machine.end_group(false);
        result?;
        let output = output.unwrap();
        self.records.push(output.record.clone());
        let executed = output.executed[0].clone();
        self.outputs.push(output);
        Ok(executed)
    }
}

pub fn open(kind: proto::AccountKind) -> Act {
    Act::OpenAccount(proto::OpenAccount { kind: kind as i32 })
}

pub fn coding(system: &str, code: &str) -> proto::Coding {
    proto::Coding { system: system.into(), code: code.into() }
}

pub fn observation() -> proto::Coding {
    coding("http://hl7.org/fhir/resource-types", "Observation")
}

pub fn scope(custodian: u8, purpose: &str) -> proto::AccessScope {
    proto::AccessScope {
        custodian: account(custodian).0.to_vec(),
        purpose: purpose.into(),
        action: proto::Action::Access as i32,
        classes: vec![observation()],
        labels: vec![],
        data_period: None,
        acting_person_hash: vec![],
    }
}

/// A consent that lets one recipient treat, without substance-use data.
pub fn terms(recipient: u8) -> proto::ConsentTerms {
    proto::ConsentTerms {
        default_effect: 0,
        period: Some(proto::Period { start_ms: START_MS, end_ms: 0 }),
        provisions: vec![proto::Provision {
            effect: proto::Effect::Permit as i32,
            actors: vec![proto::Actor {
                role: proto::ActorRole::Recipient as i32,
                account: account(recipient).0.to_vec(),
            }],
            purposes: vec!["TREAT".into()],
            actions: vec![proto::Action::Access as i32],
            classes: vec![observation()],
            provisions: vec![proto::Provision {
                effect: proto::Effect::Deny as i32,
                labels: vec![coding("http://terminology.hl7.org/CodeSystem/v3-ActCode", "SUD")],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

pub fn grant(recipient: u8) -> Act {
    Act::GrantConsent(proto::GrantConsent { terms: Some(terms(recipient)), ..Default::default() })
}

pub fn revoke(id: TransactionId) -> Act {
    Act::RevokeConsent(proto::RevokeConsent { by: Some(proto::revoke_consent::By::ConsentId(id.0.to_vec())) })
}

pub fn request(subjects: &[u8], purpose: &str) -> Act {
    Act::RequestAccess(proto::RequestAccess {
        subjects: subjects.iter().map(|n| account(*n).0.to_vec()).collect(),
        scope: Some(scope(3, purpose)),
    })
}

pub fn record(request: TransactionId, subject: u8) -> Act {
    Act::RecordAccess(proto::RecordAccess {
        request_id: request.0.to_vec(),
        subject: account(subject).0.to_vec(),
        scope: Some(scope(3, "TREAT")),
    })
}

/// Applies records to a fresh machine over a fresh store, restarting from the stored cursor after every record for which
/// `restart` says so.
pub fn replay(
    manifest: &Arc<GenesisManifest>,
    records: &[LogRecord],
    mut restart: impl FnMut(usize) -> bool,
) -> Vec<GroupOutput> {
    let mut store = MemoryStore::default();
    let mut cursor = Cursor::genesis(manifest);
    let mut machine = Machine::new(manifest.clone(), cursor.clone()).unwrap();
    let mut outputs = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let decoded = LogRecord::decode(&record.encode().into()).unwrap();
        let transactions = machine.decode_record(&decoded).unwrap();
        let output = machine.apply_record(&store, &decoded, &transactions).unwrap();
        if let Some(sealed) = &output.sealed {
            store.flush(&sealed.content);
            cursor = sealed.cursor.clone();
        }
        outputs.push(output);
        if restart(index) {
            machine = Machine::new(manifest.clone(), cursor.clone()).unwrap();
            let from = usize::try_from(cursor.next_position).unwrap();
            for again in &records[from..=index] {
                let transactions = machine.decode_record(again).unwrap();
                let _ = machine.apply_record(&store, again, &transactions).unwrap();
            }
        }
    }
    outputs
}

/// All ids are distinct.
pub fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}
