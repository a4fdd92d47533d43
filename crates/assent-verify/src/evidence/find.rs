//! Finding evidence in what clients, auditors and validators hold.

use std::collections::{BTreeMap, btree_map::Entry as Slot};

use assent_core::{
    Hash, TransactionId,
    batch::{BatchHeader, BatchRecord, Receipt, effects_root},
    codec::DecodeError,
    manifest::GenesisManifest,
    note::Checkpoint,
    receipt::SignedReceipt,
};
use assent_merkle::{
    BatchTree,
    sparse::{NoPages, SparseTree},
    tiles::{MemoryTiles, TileProver},
};
use assent_proto::v1::SealedBatch;
use thiserror::Error;

use super::{
    Accusation, BatchEffects, Effects, Evidence, RecordProof, RootClaim, SignedHeader,
    check::{ends_before, index_of},
};
use crate::{
    batches::{BatchesFile, decode_batch, encode_batch},
    bundle::Bundle,
    check::{CheckError, Ledger, Pins, check_ledger},
    consistency::ConsistencyFile,
    file::{Kind, ReadError},
    receipt::ReceiptFile,
    replay::{MemoryState, ReplayError, Replayer},
    state::{StateRoot, consent::ConsentFile, decision::DecisionFile, history::HistoryFile},
};

/// Why a file is of no use here.
#[derive(Debug, Error)]
pub enum StatementError {
    /// Not readable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A part of it.
    #[error("a part of the file is damaged: {0}")]
    Format(#[from] DecodeError),
    /// Neither a proof file nor what else is taken.
    #[error(
        "neither an Assent file, nor a manifest, nor a signed checkpoint, nor JSON with a signed_receipt in it"
    )]
    Unknown,
    /// JSON without a receipt, or with a broken one.
    #[error("the JSON holds no readable signed_receipt: {0}")]
    Json(String),
    /// Evidence already.
    #[error("this is evidence already; check it with assent verify")]
    Evidence,
    /// No manifest.
    #[error(
        "no file says which ledger this is about: add its manifest.bin, a proof bundle or exported batches"
    )]
    NoManifest,
    /// Two manifests.
    #[error("the files are of different ledgers")]
    TwoLedgers,
    /// The manifest.
    #[error(transparent)]
    Ledger(#[from] CheckError),
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Evidence, the most telling first. Each holds when it is verified.
    pub evidence: Vec<Evidence>,
    /// Statements that were left aside, because nobody signed them or they are cut off, and why.
    pub ignored: Vec<String>,
    /// Receipts, batch headers, roots and batch records that were compared.
    pub compared: [usize; 4],
    /// Batches that were executed again.
    pub executed: u64,
}

/// Statements from files, each with the name of its file.
#[derive(Debug, Default)]
pub struct Statements {
    manifests: Vec<Vec<u8>>,
    receipts: Vec<(String, SignedReceipt)>,
    headers: Vec<(String, SignedHeader)>,
    entries: Vec<(SignedHeader, Vec<u8>, Vec<Hash>)>,
    claims: Vec<(String, RootClaim)>,
    records: Vec<(String, u64, RecordProof)>,
    /// By number. There may be several: damaged copies, or more than one history.
    batches: BTreeMap<u64, Vec<SealedBatch>>,
    /// Of batches that were executed, by the hash of the header.
    effects: BTreeMap<Hash, Effects>,
}

impl Statements {
    /// Takes in one file, whatever of these it is: a proof bundle, a file about state, a receipt, exported batches, a consistency proof, a
    /// genesis manifest, a signed checkpoint, or JSON as the commands print it.
    ///
    /// # Errors
    /// [`StatementError`]; nothing was taken in then.
    pub fn read(&mut self, name: &str, bytes: &[u8]) -> Result<(), StatementError> {
        let named = || name.to_owned();
        match Kind::of(bytes) {
            Some(Kind::Bundle) => self.read_bundle(name, Bundle::decode(bytes)?.0),
            Some(Kind::Receipt) => {
                let (file, _) = ReceiptFile::decode(bytes)?;
                self.manifests.push(file.manifest);
                self.receipts.push((named(), file.receipt));
            }
            Some(Kind::Consistency) => {
                let (file, _) = ConsistencyFile::decode(bytes)?;
                self.manifests.push(file.manifest);
                self.claims.push((named(), RootClaim::Signed(file.old)));
                self.claims.push((named(), RootClaim::Signed(file.new)));
            }
            Some(Kind::Decision) => {
                let (file, _) = DecisionFile::decode(bytes)?;
                self.read_state(name, file.manifest, file.state);
            }
            Some(Kind::Consent) => {
                let (file, _) = ConsentFile::decode(bytes)?;
                self.read_state(name, file.manifest, file.state);
            }
            Some(Kind::History) => {
                let (file, _) = HistoryFile::decode(bytes)?;
                self.read_state(name, file.manifest, file.state);
            }
            Some(Kind::Batches) => {
                let (file, _) = BatchesFile::decode(bytes)?;
                let batches =
                    file.batches.iter().map(|batch| decode_batch(batch)).collect::<Result<Vec<_>, _>>()?;
                self.manifests.push(file.manifest);
                for batch in batches {
                    self.add_batch(name, batch);
                }
            }
            Some(Kind::Evidence) => return Err(StatementError::Evidence),
            None if bytes.starts_with(&[0x1d, 0x01]) => {
                GenesisManifest::decode(bytes)?;
                self.manifests.push(bytes.to_vec());
            }
            None if bytes.starts_with(b"assent/") => {
                let note = String::from_utf8(bytes.to_vec()).map_err(|_| StatementError::Unknown)?;
                self.claims.push((named(), RootClaim::Signed(note)));
            }
            None if bytes.trim_ascii_start().starts_with(b"{") => self.read_json(name, bytes)?,
            None => return Err(StatementError::Unknown),
        }
        Ok(())
    }

    /// Takes in a batch as a sequencer sent it.
    pub fn add_batch(&mut self, name: &str, batch: SealedBatch) {
        let Ok(signature) = <[u8; 64]>::try_from(batch.signature.as_slice()) else { return };
        let Ok(header) = BatchHeader::decode(&batch.header) else { return };
        self.headers.push((name.to_owned(), SignedHeader { header: batch.header.clone(), signature }));
        let known = self.batches.entry(header.number).or_default();
        if !known.contains(&batch) {
            known.push(batch);
        }
    }

    /// Takes in a batch that was executed already and found right: only its entries are compared with receipts. Where there
    /// are no receipts, only its header is kept.
    pub fn add_entries<E: AsRef<[u8]>>(&mut self, header: &BatchHeader, signature: [u8; 64], entries: &[E]) {
        let signed = SignedHeader { header: header.encode(), signature };
        let promised = self.receipts.iter().filter_map(|(_, signed)| Receipt::decode(&signed.receipt).ok());
        let indices: Vec<u64> = promised
            .filter_map(|receipt| receipt.entry.sequence.checked_sub(header.first_sequence))
            .filter(|index| *index < entries.len() as u64)
            .collect();
        if !indices.is_empty() {
            let tree = BatchTree::from_leaves(entries);
            for index in indices {
                let entry = usize::try_from(index).ok().and_then(|index| entries.get(index));
                if let (Some(entry), Some(path)) = (entry, tree.inclusion_path(index)) {
                    self.entries.push((signed.clone(), entry.as_ref().to_vec(), path));
                }
            }
        }
        self.add_header("batch", signed);
    }

    /// Takes in the effects of a batch that was executed already and found right.
    pub fn add_effects(&mut self, header_hash: Hash, effects: Effects) {
        self.effects.insert(header_hash, effects);
    }

    /// Takes in a batch record of the prover's.
    pub fn add_record(&mut self, name: &str, number: u64, record: RecordProof) {
        self.records.push((name.to_owned(), number, record));
    }

    /// Takes in a batch header.
    pub fn add_header(&mut self, name: &str, header: SignedHeader) {
        self.headers.push((name.to_owned(), header));
    }

    /// Takes in a root that the prover vouched for.
    pub fn add_claim(&mut self, name: &str, claim: RootClaim) {
        self.claims.push((name.to_owned(), claim));
    }

    /// Takes in the manifest.
    pub fn add_manifest(&mut self, manifest: Vec<u8>) {
        self.manifests.push(manifest);
    }

    fn read_bundle(&mut self, name: &str, bundle: Bundle) {
        let header = SignedHeader { header: bundle.header, signature: bundle.header_signature };
        if let Ok(decoded) = BatchHeader::decode(&header.header) {
            for claim in [RootClaim::Signed(bundle.checkpoint), RootClaim::Anchored(bundle.anchor)] {
                let record = RecordProof {
                    claim: claim.clone(),
                    record: bundle.batch_record.clone(),
                    path: bundle.history_path.clone(),
                };
                self.claims.push((name.to_owned(), claim));
                self.records.push((name.to_owned(), decoded.number, record));
            }
        }
        self.manifests.push(bundle.manifest);
        self.headers.push((name.to_owned(), header.clone()));
        self.entries.push((header, bundle.entry, bundle.entry_path));
    }

    fn read_state(&mut self, name: &str, manifest: Vec<u8>, state: StateRoot) {
        if let Ok(header) = BatchHeader::decode(&state.header.header) {
            let claim = RootClaim::Signed(state.checkpoint);
            let record = RecordProof { claim: claim.clone(), record: state.record, path: state.path };
            self.claims.push((name.to_owned(), claim));
            self.records.push((name.to_owned(), header.number, record));
        }
        self.manifests.push(manifest);
        self.headers.push((name.to_owned(), state.header));
    }

    fn read_json(&mut self, name: &str, bytes: &[u8]) -> Result<(), StatementError> {
        let wrong = |problem: &dyn ToString| StatementError::Json(problem.to_string());
        let mut found = Vec::new();
        for value in serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>() {
            let value = value.map_err(|error| wrong(&error))?;
            let signed = &value["signed_receipt"];
            let hex_of = |value: &serde_json::Value| {
                let text = value.as_str().ok_or_else(|| wrong(&"a field is missing"))?;
                hex::decode(text).map_err(|error| wrong(&error))
            };
            let path = signed["path"].as_array().ok_or_else(|| wrong(&"there is no path"))?;
            let message = assent_proto::v1::SignedReceipt {
                receipt: hex_of(&signed["receipt"])?.into(),
                group_statement: hex_of(&signed["group_statement"])?.into(),
                index: signed["index"]
                    .as_u64()
                    .and_then(|index| u32::try_from(index).ok())
                    .ok_or_else(|| wrong(&"there is no index"))?,
                path: path.iter().map(|hash| hex_of(hash).map(Into::into)).collect::<Result<_, _>>()?,
                signature: hex_of(&signed["signature"])?.into(),
            };
            found.push((name.to_owned(), SignedReceipt::from_proto(&message)?));
        }
        if found.is_empty() {
            return Err(wrong(&"it is empty"));
        }
        self.receipts.extend(found);
        Ok(())
    }

    fn ledger(&self, pins: &Pins) -> Result<(Vec<u8>, Ledger), StatementError> {
        let manifest = self.manifests.first().ok_or(StatementError::NoManifest)?;
        if self.manifests.iter().any(|other| other != manifest) {
            return Err(StatementError::TwoLedgers);
        }
        Ok((manifest.clone(), check_ledger(manifest, pins)?))
    }

    /// Compares every statement with every other. `progress` hears how many batches of how many were executed.
    ///
    /// # Errors
    /// [`StatementError::NoManifest`], [`StatementError::TwoLedgers`], [`StatementError::Ledger`].
    pub fn find(&self, pins: &Pins, progress: &mut dyn FnMut(u64, u64)) -> Result<Found, StatementError> {
        let (manifest, ledger) = self.ledger(pins)?;
        let mut found = Found::default();
        let Executed { effects, wrong } = self.execute(&ledger, &mut found, progress);
        let opened = Opened::of(self, &effects, &ledger, pins, &mut found.ignored);
        found.compared =
            [opened.receipts.len(), opened.headers.len(), opened.claims.len(), opened.records.len()];
        let mut accusations = opened.receipts_with_each_other();
        accusations.extend(opened.headers_with_each_other());
        accusations.extend(opened.receipts_with_batches(self));
        accusations.extend(opened.roots());
        accusations.extend(opened.records());
        accusations.extend(wrong.map(|(number, header, batches)| {
            let endorsed = opened.endorsement(number, &header);
            Accusation::WrongExecution { batches, endorsed }
        }));
        found.evidence = accusations
            .into_iter()
            .map(|accusation| Evidence { manifest: manifest.clone(), accusation })
            .collect();
        Ok(found)
    }

    /// Executes the batches that follow each other from the first one on.
    fn execute(&self, ledger: &Ledger, found: &mut Found, progress: &mut dyn FnMut(u64, u64)) -> Executed {
        let mut executed = Executed { effects: self.effects.clone(), wrong: None };
        let count = (0..).zip(self.batches.keys()).take_while(|(number, key)| number == *key).count() as u64;
        if count < self.batches.len() as u64 {
            found.ignored.push(format!(
                "{} batches: batch {count} is missing, so they cannot be executed again",
                self.batches.len() as u64 - count
            ));
        }
        let cursor = assent_core::machine::Cursor::genesis(&ledger.manifest);
        let Ok(mut replayer) = Replayer::new(std::sync::Arc::new(ledger.manifest.clone()), cursor) else {
            return executed;
        };
        let mut state = MemoryState::default();
        let mut taken: Vec<Vec<u8>> = Vec::new();
        for (number, candidates) in self.batches.iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let before = taken.len();
            for batch in candidates {
                match replayer.apply(&state, batch) {
                    Ok(replayed) => {
                        if let Some(sealed) = replayed.sealed() {
                            state.apply(sealed);
                            executed.effects.insert(sealed.header.hash(), sealed.effects.clone());
                        }
                        taken.push(encode_batch(batch));
                        break;
                    }
                    Err(ReplayError::Divergence(_)) => {
                        taken.push(encode_batch(batch));
                        executed.wrong = Some((*number, batch.header.clone(), taken));
                        return executed;
                    }
                    // Nobody signed this copy; nothing was executed of it, and another may be whole.
                    Err(error) => found.ignored.push(format!("a copy of batch {number}: {error}")),
                }
            }
            if taken.len() == before {
                found.ignored.push(format!("batch {number} and all after it cannot be executed"));
                return executed;
            }
            found.executed = number + 1;
            progress(found.executed, count);
        }
        executed
    }
}

/// What executing the batches again gave.
struct Executed {
    /// By the hash of the header.
    effects: BTreeMap<Hash, Effects>,
    /// The first batch that does not follow: number, header, and all batches up to it.
    wrong: Option<(u64, Vec<u8>, Vec<Vec<u8>>)>,
}

/// Statements whose signatures hold.
struct Opened<'a> {
    receipts: Vec<(&'a SignedReceipt, Receipt)>,
    headers: Vec<(&'a SignedHeader, BatchHeader)>,
    claims: Vec<(&'a RootClaim, Checkpoint)>,
    records: Vec<(u64, &'a RecordProof)>,
    /// The headers from the first one on, as far as they follow each other.
    chain: Vec<&'a SignedHeader>,
    /// By the hash of the header.
    effects: &'a BTreeMap<Hash, Effects>,
    /// The leaves of the history tree over them, as far as their effects are known.
    leaves: Vec<Hash>,
    /// The first number for which the sequencer signed more than one header. Past it a prover may have followed the other.
    fork: u64,
}

impl<'a> Opened<'a> {
    fn of(
        statements: &'a Statements,
        effects: &'a BTreeMap<Hash, Effects>,
        ledger: &Ledger,
        pins: &Pins,
        ignored: &mut Vec<String>,
    ) -> Self {
        let mut opened = Self {
            receipts: Vec::new(),
            headers: Vec::new(),
            claims: Vec::new(),
            records: Vec::new(),
            chain: Vec::new(),
            effects,
            leaves: Vec::new(),
            fork: u64::MAX,
        };
        let mut unpinned = 0;
        for (name, receipt) in &statements.receipts {
            match receipt.open(&ledger.manifest) {
                Ok(found) => opened.receipts.push((receipt, found)),
                Err(error) => ignored.push(format!("{name}: the receipt: {error}")),
            }
        }
        for (name, header) in &statements.headers {
            match header.open(ledger) {
                Ok(found) => opened.headers.push((header, found)),
                Err(error) => ignored.push(format!("{name}: {error}")),
            }
        }
        for (name, claim) in &statements.claims {
            match claim.open(ledger, pins) {
                Ok(found) => opened.claims.push((claim, found)),
                Err(CheckError::AnchorNotPinned) => unpinned += 1,
                Err(error) => ignored.push(format!("{name}: {error}")),
            }
        }
        for (name, number, record) in &statements.records {
            match record.open(*number, ledger, pins) {
                Ok(_) => opened.records.push((*number, record)),
                Err(CheckError::AnchorNotPinned) => {}
                Err(error) => ignored.push(format!("{name}: {error}")),
            }
        }
        if unpinned > 0 {
            ignored.push(format!(
                "{unpinned} anchor(s), because no base block is pinned: {}",
                CheckError::AnchorNotPinned
            ));
        }
        let mut previous = [0; 32];
        let mut by_number: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (index, (_, header)) in opened.headers.iter().enumerate() {
            by_number.entry(header.number).or_default().push(index);
        }
        let forked = |indices: &[usize]| {
            let mut headers = indices.iter().map(|index| &opened.headers[*index].1);
            let first = headers.next();
            headers.any(|other| Some(other) != first)
        };
        let fork =
            by_number.iter().find(|(_, indices)| forked(indices)).map_or(u64::MAX, |(number, _)| *number);
        opened.fork = fork;
        let mut state = Some(SparseTree::new(usize::MAX));
        for number in 0.. {
            let candidates = by_number.get(&number).into_iter().flatten();
            let next = candidates
                .map(|index| &opened.headers[*index])
                .find(|(_, header)| header.previous_hash == previous);
            let Some((signed, header)) = next else { break };
            previous = header.hash();
            opened.chain.push(signed);
            let written =
                effects.get(&previous).filter(|effects| effects_root(effects) == header.effects_root);
            state = state.zip(written).and_then(|(mut state, effects)| {
                state.apply(&NoPages, effects).ok()?;
                opened.leaves.push(BatchRecord::new(previous, state.root()).leaf_hash());
                Some(state)
            });
        }
        opened
    }

    fn receipts_with_each_other(&self) -> Vec<Accusation> {
        let mut accusations = Vec::new();
        let mut by_id: BTreeMap<TransactionId, usize> = BTreeMap::new();
        let mut by_sequence: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, (signed, receipt)) in self.receipts.iter().enumerate() {
            let mut other = None;
            match by_id.entry(receipt.entry.transaction_id) {
                Slot::Occupied(slot) => other = Some(*slot.get()),
                Slot::Vacant(slot) => {
                    slot.insert(index);
                }
            }
            match by_sequence.entry(receipt.entry.sequence) {
                Slot::Occupied(slot) => other = other.or(Some(*slot.get())),
                Slot::Vacant(slot) => {
                    slot.insert(index);
                }
            }
            if let Some((first, earlier)) = other.map(|other| &self.receipts[other])
                && earlier != receipt
            {
                let (first, second) = ((*first).clone(), (*signed).clone());
                accusations.push(Accusation::ReceiptsContradict { first, second });
            }
        }
        accusations
    }

    fn headers_with_each_other(&self) -> Vec<Accusation> {
        let mut accusations = Vec::new();
        let mut by_number: BTreeMap<u64, &(&SignedHeader, BatchHeader)> = BTreeMap::new();
        for pair in &self.headers {
            let earlier = by_number.entry(pair.1.number).or_insert(pair);
            if earlier.1 != pair.1 {
                let (first, second) = (earlier.0.clone(), pair.0.clone());
                accusations.push(Accusation::HeadersContradict { first, second });
            }
        }
        accusations
    }

    fn receipts_with_batches(&self, statements: &Statements) -> Vec<Accusation> {
        let mut accusations = Vec::new();
        for (signed, receipt) in &self.receipts {
            let sequence = receipt.entry.sequence;
            let promised = || (*signed).clone();
            for (header, opened) in &self.headers {
                let holds = index_of(opened, sequence).is_some();
                let header = || (*header).clone();
                if holds != (opened.number == receipt.batch_number) {
                    accusations
                        .push(Accusation::BatchContradictsReceipt { receipt: promised(), header: header() });
                    break;
                }
                if opened.time_ms > receipt.deadline_ms && ends_before(opened, sequence) {
                    accusations.push(Accusation::SealedWithout { receipt: promised(), header: header() });
                    break;
                }
                if holds
                    && let Some((entry, path)) = statements.entry_of(&header(), opened, sequence)
                    && entry != receipt.entry.encode()
                {
                    let (receipt, header) = (promised(), header());
                    accusations.push(Accusation::EntryContradictsReceipt { receipt, header, entry, path });
                    break;
                }
            }
        }
        accusations
    }

    /// Roots that the prover vouched for: with each other, and with the batches.
    fn roots(&self) -> Vec<Accusation> {
        let mut accusations = Vec::new();
        let mut by_size: BTreeMap<u64, &(&RootClaim, Checkpoint)> = BTreeMap::new();
        for pair in &self.claims {
            let earlier = by_size.entry(pair.1.size).or_insert(pair);
            if earlier.1.root != pair.1.root {
                let (first, second) = (earlier.0.clone(), pair.0.clone());
                accusations.push(Accusation::RootsContradict { first, second });
            }
        }
        let tiles = MemoryTiles::of_leaves(&self.leaves);
        let prover = TileProver::new(&tiles, self.leaves.len() as u64);
        let (right, wrong): (Vec<_>, Vec<_>) = self
            .claims
            .iter()
            .filter(|(_, checkpoint)| (1..=self.leaves.len() as u64).contains(&checkpoint.size))
            .partition(|(_, checkpoint)| {
                prover.root(checkpoint.size).is_ok_and(|root| root == checkpoint.root)
            });
        let mut accused = std::collections::BTreeSet::new();
        for (claim, checkpoint) in wrong {
            if !accused.insert((checkpoint.size, checkpoint.root)) {
                continue;
            }
            // The prover's own later word is better than the sequencer's headers, which another header could answer.
            let later = right.iter().find(|(_, later)| later.size > checkpoint.size);
            let path =
                later.and_then(|(_, later)| prover.full_consistency_path(checkpoint.size, later.size).ok());
            let claim = (*claim).clone();
            if let (Some((new, _)), Some(path)) = (later, path) {
                accusations.push(Accusation::HistoryRewritten { old: claim, new: (*new).clone(), path });
            } else if checkpoint.size <= self.fork
                && let Some((batches, signature)) = self.batches_up_to(checkpoint.size)
            {
                accusations.push(Accusation::WrongRoot { claim, batches, signature });
            }
        }
        accusations
    }

    fn records(&self) -> Vec<Accusation> {
        let mut accusations = Vec::new();
        let mut by_number: BTreeMap<u64, &RecordProof> = BTreeMap::new();
        for (number, record) in &self.records {
            let earlier = by_number.entry(*number).or_insert(record);
            if earlier.record != record.record {
                let (first, second) = ((*earlier).clone(), (*record).clone());
                accusations.push(Accusation::RecordsContradict { number: *number, first, second });
            }
            let mut headers = self.headers.iter().filter(|(_, header)| header.number == *number).peekable();
            let Some((header, _)) = headers.peek().copied() else { continue };
            let read = BatchRecord::decode(&record.record).ok();
            let follows = headers
                .any(|(_, header)| read.as_ref().is_some_and(|read| read.header_hash == header.hash()));
            if !follows {
                let (record, header) = ((*record).clone(), (*header).clone());
                accusations.push(Accusation::WrongRecord { number: *number, record, header });
            }
        }
        accusations
    }

    /// A root under which the prover took a batch into its history.
    fn endorsement(&self, number: u64, header: &[u8]) -> Option<RecordProof> {
        let hash = assent_core::codec::sha256(header);
        let is_of = |record: &RecordProof| {
            BatchRecord::decode(&record.record).is_ok_and(|record| record.header_hash == hash)
        };
        let found = self.records.iter().find(|(found, record)| *found == number && is_of(record));
        found.map(|(_, record)| (*record).clone())
    }

    /// All batches up to a size, with the signature on the last header.
    fn batches_up_to(&self, size: u64) -> Option<(Vec<BatchEffects>, [u8; 64])> {
        let chain = self.chain.get(..usize::try_from(size).ok()?)?;
        let signature = chain.last()?.signature;
        let batches = chain.iter().map(|signed| {
            let effects = self.effects.get(&assent_core::codec::sha256(&signed.header))?.clone();
            Some(BatchEffects { header: signed.header.clone(), effects })
        });
        Some((batches.collect::<Option<_>>()?, signature))
    }
}

impl Statements {
    /// The entry that a batch holds at a sequence, with its path, where a bundle or the batch is here.
    fn entry_of(
        &self,
        signed: &SignedHeader,
        header: &BatchHeader,
        sequence: u64,
    ) -> Option<(Vec<u8>, Vec<Hash>)> {
        let from_bundle = self.entries.iter().find(|(found, entry, _)| {
            found == signed
                && assent_core::outcome::Entry::decode(entry).is_ok_and(|entry| entry.sequence == sequence)
        });
        if let Some((_, entry, path)) = from_bundle {
            return Some((entry.clone(), path.clone()));
        }
        let index = index_of(header, sequence)?;
        let candidates =
            self.batches.get(&header.number)?.iter().filter(|batch| batch.header == signed.header);
        candidates.into_iter().find_map(|batch| {
            let entry = batch.entries.get(usize::try_from(index).ok()?)?;
            let tree = BatchTree::from_leaves(&batch.entries);
            let path = tree.inclusion_path(index).filter(|_| tree.root() == header.entries_root)?;
            Some((entry.to_vec(), path))
        })
    }
}
