//! Everything that reads bytes of others, as functions that take any bytes and must not panic, and must keep what they
//! promise for those that they accept.
//!
//! `scripts/fuzz SECONDS` runs libFuzzer over each with a corpus that grows; `cargo test` runs the committed corpus, and
//! mutations of it, through the same functions.

use assent_core::{
    ChainId,
    log::LogRecord,
    manifest::GenesisManifest,
    note::Checkpoint,
    signature::KeyPair,
    terms::Coding,
    transaction::{AccessScope, Act, Transaction},
};
use assent_fhir::{Profile, ReferenceMap};
use assent_proto::v1 as proto;
use assent_verify::{
    Bundle, Pins, base, batches,
    evidence::Evidence,
    state::{consent::ConsentFile, decision::DecisionFile, history::HistoryFile},
    verify_file,
};
use prost::Message;

/// A target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by the names of their folders in `corpus/`.
pub const TARGETS: [Target; 7] = [
    ("body", body),
    ("bundle", bundle),
    ("state", state),
    ("evidence", evidence),
    ("checkpoint", checkpoint),
    ("fhir", fhir),
    ("base", self::base),
];

/// A transaction body: what is accepted has one encoding, and can be logged and read back.
pub fn body(data: &[u8]) {
    let chain = proto::TransactionBody::decode(data)
        .ok()
        .and_then(|body| <[u8; 32]>::try_from(body.chain_id.as_slice()).ok())
        .map_or(ChainId([0; 32]), ChainId);
    let authorization = proto::Authorization {
        scheme: 1,
        public_key: KeyPair::from_seed([7; 32]).public().0.to_vec(),
        signature: vec![0; 64],
    };
    for authorizations in [vec![], vec![authorization]] {
        let signed = proto::SignedTransaction { body: data.to_vec().into(), authorizations };
        if let Ok(transaction) = Transaction::decode(&chain, &signed) {
            let again = proto::TransactionBody::decode(data).expect("decoded before").encode_to_vec();
            assert_eq!(again, data, "accepted in a second encoding");
            if let Some(message) = access_message(&transaction.act) {
                let read = proto::TransactionBody {
                    chain_id: chain.0.to_vec(),
                    sender: transaction.sender.map_or_else(Vec::new, |sender| sender.0.to_vec()),
                    salt: transaction.salt.clone(),
                    expires_at_ms: transaction.expires_at_ms,
                    act: Some(message),
                };
                assert_eq!(read.encode_to_vec(), data, "read as something else than it says");
            }
            assert!(transaction.stored_bytes() >= data.len());
        }
    }
    // Log records hold bodies.
    if let Ok(record) = LogRecord::decode(&data.to_vec().into()) {
        assert_eq!(record.encode(), data);
    }
}

/// The message of an access request or record.
fn access_message(act: &Act) -> Option<proto::transaction_body::Act> {
    let coding = |coding: &Coding| proto::Coding { system: coding.system.clone(), code: coding.code.clone() };
    let message = |scope: &AccessScope| proto::AccessScope {
        custodian: scope.custodian.0.to_vec(),
        purpose: scope.purpose.clone(),
        action: scope.action as i32,
        classes: scope.classes.iter().map(coding).collect(),
        labels: scope.labels.iter().map(coding).collect(),
        data_period: scope.data_period.map(|period| proto::Period {
            start_ms: period.start_ms,
            end_ms: if period.end_ms == u64::MAX { 0 } else { period.end_ms },
        }),
        acting_person_hash: scope.acting_person_hash.map_or_else(Vec::new, |hash| hash.to_vec()),
    };
    match act {
        Act::RequestAccess { subjects, scope } => {
            let subjects = subjects.iter().map(|subject| subject.0.to_vec()).collect();
            let scope = Some(message(scope));
            Some(proto::transaction_body::Act::RequestAccess(proto::RequestAccess { subjects, scope }))
        }
        Act::RecordAccess { request, subject, scope } => {
            Some(proto::transaction_body::Act::RecordAccess(proto::RecordAccess {
                request_id: request.0.to_vec(),
                subject: subject.0.to_vec(),
                scope: Some(message(scope)),
            }))
        }
        _ => None,
    }
}

/// A proof bundle: what is read has one encoding.
pub fn bundle(data: &[u8]) {
    if let Ok((bundle, digest)) = Bundle::decode(data) {
        let again = bundle.encode();
        assert_eq!(again[..again.len() - 32], data[..data.len() - 32]);
        assert_eq!(digest[..], data[data.len() - 32..]);
    }
    // Whatever is accepted carries a right digest; what is not is refused by a named check.
    if verify_file(data, &Pins::default()).is_ok() {
        let (content, digest) = data.split_at(data.len() - 32);
        assert_eq!(assent_core::codec::sha256(content)[..], *digest);
    }
}

/// Files about state: what is read has one encoding, and no content of them is taken for sound that is not.
pub fn state(data: &[u8]) {
    let same = |again: Vec<u8>| assert_eq!(again[..again.len() - 32], data[..data.len() - 32]);
    if let Ok((file, _)) = DecisionFile::decode(data) {
        same(file.encode());
    }
    if let Ok((file, _)) = ConsentFile::decode(data) {
        same(file.encode());
    }
    if let Ok((file, _)) = HistoryFile::decode(data) {
        same(file.encode());
    }
    let _ = verify_file(data, &Pins::default());
}

/// Evidence, receipts, consistency proofs, exported batches and their parts.
pub fn evidence(data: &[u8]) {
    if let Ok((evidence, _)) = Evidence::decode(data) {
        let again = evidence.encode();
        assert_eq!(again[..again.len() - 32], data[..data.len() - 32]);
    }
    if let Ok(batch) = batches::decode_batch(data) {
        assert_eq!(batches::encode_batch(&batch), data);
    }
    let _ = batches::BatchesFile::decode(data);
    let _ = verify_file(data, &Pins::default());
    let mut statements = assent_verify::evidence::Statements::default();
    if statements.read("fuzzed", data).is_ok() {
        let _ = statements.find(&Pins::default(), &mut |_, _| {});
    }
}

/// A signed checkpoint, and a genesis manifest: a note that opens for one key was signed by it.
pub fn checkpoint(data: &[u8]) {
    let key = KeyPair::from_seed([0x52; 32]);
    if let Ok(note) = std::str::from_utf8(data) {
        let chain = note
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("assent/"))
            .and_then(|id| id.parse().ok())
            .unwrap_or(ChainId([0; 32]));
        if let Ok(checkpoint) = Checkpoint::open(note, &chain, &key.public()) {
            let signed = checkpoint.sign(&chain, &key);
            assert_eq!(
                signed.split("\n\n").next(),
                note.split("\n\n").next(),
                "two spellings of one checkpoint"
            );
        }
    }
    if let Ok(manifest) = GenesisManifest::decode(data) {
        assert_eq!(manifest.encode(), data);
        let _ = base::network(&manifest.base);
    }
}

/// A FHIR Consent, under each profile: what is imported passes the checks of a transaction.
pub fn fhir(data: &[u8]) {
    let map = include_str!("../../examples/fhir/refs.toml");
    let map = ReferenceMap::from_toml(map).expect("a good map");
    for profile in [Profile::Plain, Profile::RootException, Profile::RootScope] {
        if let Ok(import) = assent_fhir::import(data, &map, profile) {
            let grant = proto::GrantConsent { terms: Some(import.terms.to_proto()), ..Default::default() };
            let body = proto::TransactionBody {
                chain_id: vec![1; 32],
                sender: import.subject.0.to_vec(),
                salt: vec![2; 32],
                expires_at_ms: 1,
                act: Some(proto::transaction_body::Act::GrantConsent(grant)),
            };
            let signed = assent_core::transaction::sign_body(&body, None);
            let refused = Transaction::decode(&ChainId([1; 32]), &signed).expect_err("it is not signed");
            assert_eq!(refused.reason(), "AUTHORIZATION_COUNT", "{refused}");
        }
    }
}

/// Answers of a base-chain node, and the blocks and headers in them.
pub fn base(data: &[u8]) {
    use assent_anchor::rpc::{ChainInfo, HeaderInfo, read_answer, read_block, read_fee_rate};
    let _ = read_answer::<ChainInfo>("getblockchaininfo", 200, data);
    let _ = read_answer::<HeaderInfo>("getblockheader", 200, data);
    let _ = read_answer::<bitcoin::BlockHash>("getbestblockhash", 200, data);
    if let Ok(answer) = read_answer::<serde_json::Value>("estimatesmartfee", 200, data) {
        let _ = read_fee_rate(&answer);
    }
    let block = match read_answer::<String>("getblock", 200, data) {
        Ok(hex) => read_block(&hex).ok(),
        Err(_) => bitcoin::consensus::encode::deserialize::<bitcoin::Block>(data).ok(),
    };
    if let Some(block) = block {
        use bitcoin::hashes::Hash as _;
        let txids: Vec<_> = block.txdata.iter().map(|tx| tx.compute_txid().to_byte_array()).collect();
        for (place, transaction) in block.txdata.iter().enumerate() {
            let path = base::block_path(&txids, place);
            if let (Ok(anchor), Some(root)) =
                (base::Anchor::of(place, transaction), block.compute_merkle_root())
            {
                let place = u32::try_from(place).expect("a block has fewer transactions");
                let held = base::check_in_block(&anchor.txid, place, &path, &root.to_byte_array());
                // Only an inner node that could itself be a transaction is refused.
                assert!(held.is_ok() || matches!(held, Err(base::BaseError::AmbiguousPath)), "{held:?}");
            }
        }
    }
    let headers: Vec<[u8; 80]> = data.as_chunks::<80>().0.to_vec();
    let _ = base::check_headers(bitcoin::Network::Regtest, &headers);
    let _ = base::Anchor::read(0, data);
}
