//! A small ledger with fixed keys, salts, seeds and times: every act and every outcome occurs in it.

use std::sync::Arc;

use assent_core::{
    AccountId, Hash, TransactionId,
    batch::BaseBlock,
    machine::{Cursor, GroupOutput, GroupStart, Machine},
    manifest::{BaseNetwork, GenesisManifest, LedgerLimits, OutPoint},
    ruleset::Ruleset,
    signature::KeyPair,
    transaction::{Transaction, acting_person_hash, revocation_code_hash, sign_body, source_hash},
};
use assent_proto::v1 as proto;
use proto::{revoke_consent::By, transaction_body::Act};

use crate::common::MemoryStore;

pub const START_MS: u64 = 1_700_000_000_000;
pub const CODE: Hash = [0xc0; 32];
pub const PATIENT: u8 = 0x11;
pub const CLINIC: u8 = 0x12;
pub const HOSPITAL: u8 = 0x13;
/// Never opens an account.
pub const STRANGER: u8 = 0x14;
pub const SEQUENCER: u8 = 0x51;
pub const PROVER: u8 = 0x52;

pub fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

pub fn account(n: u8) -> AccountId {
    key(n).public().account_id()
}

/// The first block of Bitcoin's regtest, in the order in which it is hashed.
pub fn regtest_genesis() -> Hash {
    let printed = hex::decode("0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206").unwrap();
    let mut hash: Hash = printed.try_into().unwrap();
    hash.reverse();
    hash
}

pub fn manifest() -> GenesisManifest {
    GenesisManifest {
        nonce: [0x01; 32],
        created_ms: START_MS,
        sequencer_key: key(SEQUENCER).public(),
        prover_key: key(PROVER).public(),
        base: BaseNetwork { name: "regtest".into(), genesis_hash: regtest_genesis() },
        first_anchor: OutPoint { txid: [0x02; 32], vout: 1 },
        ruleset: 1,
        ruleset_hash: Ruleset::numbered(1).unwrap().hash(),
        // Written out, so that other defaults do not change what is pinned here.
        limits: LedgerLimits {
            max_validity_ms: 604_800_000,
            permit_validity_ms: 86_400_000,
            max_time_step_ms: 3_600_000,
            max_seal_delay_ms: 3_600_000,
            max_batch_entries: 10_000,
            max_batch_bytes: 8_388_608,
        },
    }
}

pub fn coding(system: &str, code: &str) -> proto::Coding {
    proto::Coding { system: system.into(), code: code.into() }
}

/// Permits the clinic to treat, without substance-use data.
pub fn terms() -> proto::ConsentTerms {
    let actor =
        |role: proto::ActorRole, n| proto::Actor { role: role as i32, account: account(n).0.to_vec() };
    proto::ConsentTerms {
        default_effect: 0,
        period: Some(proto::Period { start_ms: START_MS, end_ms: 0 }),
        provisions: vec![proto::Provision {
            effect: proto::Effect::Permit as i32,
            period: Some(proto::Period { start_ms: 0, end_ms: START_MS + 1_000_000 }),
            actors: vec![
                actor(proto::ActorRole::Recipient, CLINIC),
                actor(proto::ActorRole::Custodian, HOSPITAL),
            ],
            purposes: vec!["TREAT".into()],
            actions: vec![proto::Action::Access as i32, proto::Action::Use as i32],
            classes: vec![coding("http://hl7.org/fhir/resource-types", "Observation")],
            labels: vec![],
            data_period: None,
            provisions: vec![proto::Provision {
                effect: proto::Effect::Deny as i32,
                labels: vec![coding("http://terminology.hl7.org/CodeSystem/v3-ActCode", "SUD")],
                data_period: Some(proto::Period { start_ms: 1_000, end_ms: 2_000 }),
                ..Default::default()
            }],
        }],
    }
}

pub fn person() -> Hash {
    acting_person_hash(&account(CLINIC), &[0x0a; 32], "employee 17")
}

pub fn source() -> Hash {
    source_hash(&[0x0b; 32], br#"{"resourceType":"Consent"}"#)
}

fn scope() -> proto::AccessScope {
    proto::AccessScope {
        custodian: account(HOSPITAL).0.to_vec(),
        purpose: "ETREAT".into(),
        action: proto::Action::Access as i32,
        classes: vec![coding("http://hl7.org/fhir/resource-types", "Observation")],
        labels: vec![],
        data_period: None,
        acting_person_hash: person().to_vec(),
    }
}

/// Everything that the run gave.
pub struct Run {
    pub manifest: Arc<GenesisManifest>,
    pub transactions: Vec<Vec<Transaction>>,
    pub outputs: Vec<GroupOutput>,
}

struct Runner {
    manifest: Arc<GenesisManifest>,
    machine: Machine,
    store: MemoryStore,
    salt: u8,
    run: Run,
}

impl Runner {
    fn transaction(&mut self, sender: Option<u8>, act: Act) -> Transaction {
        self.salt += 1;
        let chain = self.manifest.chain_id();
        let body = proto::TransactionBody {
            chain_id: chain.0.to_vec(),
            sender: sender.map_or_else(Vec::new, |n| account(n).0.to_vec()),
            salt: vec![self.salt; 16],
            expires_at_ms: START_MS + 3_600_000,
            act: Some(act),
        };
        let transaction = Transaction::decode(&chain, &sign_body(&body, sender.map(key).as_ref())).unwrap();
        transaction.verify_signatures().unwrap();
        transaction
    }

    fn group(&mut self, transactions: Vec<Transaction>, seal: bool) {
        let n = u8::try_from(self.run.outputs.len()).unwrap();
        let time_ms = START_MS + 1_000 * u64::from(n);
        let start = GroupStart {
            epoch: 1,
            time_ms,
            time_confirmed: n == 2,
            seed: [0xa0 + n; 32],
            base: BaseBlock {
                height: 100 + u32::from(n),
                hash: [0xb0 + n; 32],
                median_time_s: u32::try_from(time_ms / 1000).unwrap(),
            },
        };
        self.machine.begin_group(start).unwrap();
        for transaction in &transactions {
            self.machine.execute(&self.store, transaction).unwrap().unwrap();
        }
        let output = self.machine.end_group(seal).unwrap();
        if let Some(sealed) = &output.sealed {
            self.store.flush(&sealed.content);
        }
        self.run.transactions.push(transactions);
        self.run.outputs.push(output);
    }
}

/// Three groups, two batches.
pub fn run() -> Run {
    let manifest = Arc::new(manifest());
    let mut r = Runner {
        machine: Machine::new(manifest.clone(), Cursor::genesis(&manifest)).unwrap(),
        manifest: manifest.clone(),
        store: MemoryStore::default(),
        salt: 0,
        run: Run { manifest, transactions: Vec::new(), outputs: Vec::new() },
    };
    let open = |kind: proto::AccountKind| Act::OpenAccount(proto::OpenAccount { kind: kind as i32 });
    let group = vec![
        r.transaction(Some(PATIENT), open(proto::AccountKind::Patient)),
        r.transaction(Some(CLINIC), open(proto::AccountKind::Organisation)),
        r.transaction(Some(HOSPITAL), open(proto::AccountKind::Organisation)),
    ];
    r.group(group, false);

    let grant = Act::GrantConsent(proto::GrantConsent {
        terms: Some(terms()),
        revocation_code_hash: revocation_code_hash(&CODE).to_vec(),
        source_hash: source().to_vec(),
    });
    let grant = r.transaction(Some(PATIENT), grant);
    let request = Act::RequestAccess(proto::RequestAccess {
        subjects: vec![account(PATIENT).0.to_vec(), account(STRANGER).0.to_vec()],
        scope: Some(scope()),
    });
    let request = r.transaction(Some(CLINIC), request);
    let (consent, request_id) = (grant.id, request.id);
    r.group(vec![grant, request], true);

    let record = |id: TransactionId| {
        Act::RecordAccess(proto::RecordAccess {
            request_id: id.0.to_vec(),
            subject: account(PATIENT).0.to_vec(),
            scope: Some(scope()),
        })
    };
    let revoke = |by| Act::RevokeConsent(proto::RevokeConsent { by: Some(by) });
    let group = vec![
        r.transaction(Some(CLINIC), record(request_id)),
        r.transaction(None, revoke(By::RevocationCode(CODE.to_vec()))),
        r.transaction(Some(PATIENT), revoke(By::ConsentId(consent.0.to_vec()))),
        r.transaction(Some(CLINIC), record(request_id)),
    ];
    r.group(group, true);
    r.run
}
