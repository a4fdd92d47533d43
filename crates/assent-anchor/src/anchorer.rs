//! The anchorer: seals, the outbox, replacement.

use std::sync::Arc;

use assent_core::{ChainId, Hash, anchor::AnchorPayload, manifest::OutPoint, note::Checkpoint};
use assent_verify::base::{Anchor, block_path};
use bdk_wallet::ChangeSet;
use bitcoin::{
    Block, BlockHash, Network, Transaction,
    consensus::encode::{deserialize, serialize},
    hashes::Hash as _,
};

use crate::{
    error::AnchorError,
    follow::{self, BLOCKS_PER_STEP, Tip},
    rows::{AnchorStore, OutboxRow, SealRow, keys},
    rpc::{BitcoinRpc, RPC_VERIFY_ALREADY_IN_UTXO_SET, RPC_VERIFY_ERROR, RPC_VERIFY_REJECTED},
    stored::{MAX_VERSIONS, load_outbox, load_wallet, outbox_keys},
    view::{AnchorView, Seen},
    wallet::AnchorWallet,
};

/// Lowest fee rate: satoshi for 1,000 virtual bytes. Nodes relay nothing below 1,000.
const MIN_FEE_RATE: u64 = 1_000;
/// Blocks within which an anchor should confirm, for the fee estimate.
const FEE_TARGET_BLOCKS: u16 = 6;
/// Outbox versions of seals this deep are deleted: no reorganisation of a network worth anchoring on goes deeper.
const OUTBOX_DEPTH: u32 = 288;

/// How a ledger is anchored.
#[derive(Clone)]
pub struct AnchorConfig {
    /// Ledger.
    pub chain_id: ChainId,
    /// The manifest's outpoint.
    pub first_seal: OutPoint,
    /// The manifest's network.
    pub network: Network,
    /// Seed of the wallet; `None` for a validator, which follows the anchors and makes none.
    pub seed: Option<[u8; 32]>,
    /// Height below which there is nothing of ours.
    pub birthday_height: u32,
    /// Highest fee rate that is ever paid: satoshi for 1,000 virtual bytes.
    pub max_fee_rate: u64,
}

/// Follows the base chain and anchors checkpoints on it. One task owns it and calls [`Anchorer::step`].
pub struct Anchorer {
    config: AnchorConfig,
    rpc: BitcoinRpc,
    store: Arc<dyn AnchorStore>,
    wallet: Option<AnchorWallet>,
    wallet_rows: u64,
    tip: Option<Tip>,
    /// Versions that spend the open seal, oldest first.
    outbox: Vec<OutboxRow>,
    /// Number of the next version. After a reorganisation, versions may be kept under the same index that spend a seal of the
    /// abandoned branch; they are left alone.
    next_version: u32,
    last_rejection: Option<String>,
    view: Arc<AnchorView>,
}

impl Anchorer {
    /// Opens what was kept on disk. Does not talk to the node.
    ///
    /// # Errors
    /// [`AnchorError`].
    pub fn open(
        config: AnchorConfig,
        rpc: BitcoinRpc,
        store: Arc<dyn AnchorStore>,
    ) -> Result<Self, AnchorError> {
        let (saved, wallet_rows) = load_wallet(store.as_ref())?;
        let wallet = config.seed.map(|seed| AnchorWallet::open(&seed, config.network, saved)).transpose()?;
        let tip = follow::read_tip(store.as_ref())?;
        let mut seals = Vec::new();
        while let Some(bytes) = store.get(&keys::seal(seals.len() as u64)).map_err(AnchorError::Store)? {
            seals.push(SealRow::decode(&bytes).map_err(|error| AnchorError::Corrupt(error.to_string()))?);
        }
        let open = open_seal(&config, &seals);
        let (outbox, next_version) = load_outbox(store.as_ref(), seals.len() as u64, open)?;
        let balance_sat = wallet.as_ref().map_or(0, AnchorWallet::spendable_sat);
        let seen =
            Seen { seals, tip_height: tip.map_or(0, |tip| tip.height), balance_sat, ..Seen::default() };
        let view = Arc::new(AnchorView::new(seen, store.clone()));
        Ok(Self {
            config,
            rpc,
            store,
            wallet,
            wallet_rows,
            tip,
            outbox,
            next_version,
            last_rejection: None,
            view,
        })
    }

    /// For readers.
    #[must_use]
    pub fn view(&self) -> Arc<AnchorView> {
        self.view.clone()
    }

    /// Where to send coins for fees; `None` for a validator.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        self.wallet.as_ref().map(AnchorWallet::address)
    }

    /// One step: catches up with the chain; broadcasts what is written down; and, where `checkpoint` is newer than all that
    /// is anchored or under way, makes a new anchor or replaces the unconfirmed one.
    ///
    /// Says whether it made one.
    ///
    /// # Errors
    /// [`AnchorError`]; what was done before it is kept, and the next step goes on from there.
    pub async fn step(&mut self, checkpoint: Option<Checkpoint>) -> Result<bool, AnchorError> {
        self.catch_up().await?;
        if let Some(newest) = self.outbox.last().cloned() {
            self.broadcast(&newest).await?;
        }
        match checkpoint {
            Some(checkpoint) => self.anchor(checkpoint).await,
            None => Ok(false),
        }
    }

    /// Whether an anchor is under way: then each block without it is a reason to replace it.
    #[must_use]
    pub fn has_unconfirmed(&self) -> bool {
        !self.outbox.is_empty()
    }

    fn save(&mut self, mut changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), AnchorError> {
        if let Some(staged) = self.wallet.as_mut().and_then(AnchorWallet::take_staged) {
            let json =
                serde_json::to_vec(&staged).map_err(|error| AnchorError::Corrupt(error.to_string()))?;
            changes.push((keys::wallet(self.wallet_rows), Some(json)));
            self.wallet_rows += 1;
            changes.push((keys::WALLET_COUNT.to_vec(), Some(self.wallet_rows.to_be_bytes().to_vec())));
        }
        self.store.write(&changes).map_err(AnchorError::Store)
    }

    fn save_wallet(&mut self, changes: &ChangeSet) -> Result<(), AnchorError> {
        let json = serde_json::to_vec(changes).map_err(|error| AnchorError::Corrupt(error.to_string()))?;
        let row = (keys::wallet(self.wallet_rows), Some(json));
        self.wallet_rows += 1;
        let count = (keys::WALLET_COUNT.to_vec(), Some(self.wallet_rows.to_be_bytes().to_vec()));
        self.store.write(&[row, count]).map_err(AnchorError::Store)
    }

    /// Follows the node to its best tip: rolls back to the fork, then takes in block after block.
    async fn catch_up(&mut self) -> Result<(), AnchorError> {
        let best = self.rpc.best_block_hash().await?;
        if self.tip.is_some_and(|tip| tip.hash == best) {
            return Ok(());
        }
        let info = self.rpc.chain_info().await?;
        if info.chain != self.config.network.to_core_arg() {
            let expected = self.config.network.to_core_arg().to_owned();
            return Err(AnchorError::OtherNetwork { expected, found: info.chain });
        }
        let mut next = self.config.birthday_height;
        if let Some(tip) = self.tip {
            let fork = follow::fork_point(&self.rpc, self.store.as_ref(), tip, info.blocks).await?;
            if fork != tip {
                self.roll_back(tip, fork)?;
            }
            next = fork.height + 1;
        }
        while next <= info.blocks {
            let last = info.blocks.min(next + BLOCKS_PER_STEP - 1);
            for height in next..=last {
                let hash = self.rpc.block_hash(height).await?;
                let block = self.rpc.block(&hash).await?;
                let follows = self.tip.is_none_or(|tip| block.header.prev_blockhash == tip.hash);
                if !follows {
                    // The node reorganised meanwhile; the next step finds the fork.
                    return Ok(());
                }
                self.take_in(height, hash, &block)?;
            }
            if last < info.blocks {
                tracing::info!(height = last, of = info.blocks, "catching up with the base chain");
            }
            next = last + 1;
        }
        Ok(())
    }

    fn roll_back(&mut self, tip: Tip, fork: Tip) -> Result<(), AnchorError> {
        tracing::warn!(from = tip.height, to = fork.height, "the base chain reorganised");
        let kept = {
            let seen = self.view.seen();
            seen.seals.partition_point(|seal| seal.height <= fork.height)
        };
        let count = self.view.seen().seals.len();
        let mut changes: Vec<_> =
            (fork.height + 1..=tip.height).map(|height| (keys::header(height), None)).collect();
        changes.extend((kept..count).map(|index| (keys::seal(index as u64), None)));
        changes.push((keys::TIP.to_vec(), Some(fork.height.to_be_bytes().to_vec())));
        self.save(changes)?;
        // The wallet must forget the abandoned blocks too, or it could not connect those of the new branch.
        let forgotten = self.wallet.as_ref().and_then(|wallet| wallet.forget_above(fork.height));
        if let (Some(forgotten), Some(seed)) = (forgotten, self.config.seed) {
            self.save_wallet(&forgotten)?;
            let (saved, rows) = load_wallet(self.store.as_ref())?;
            self.wallet = Some(AnchorWallet::open(&seed, self.config.network, saved)?);
            self.wallet_rows = rows;
        }
        self.tip = Some(fork);
        self.view.publish(|seen| {
            seen.seals.truncate(kept);
            seen.tip_height = fork.height;
            seen.reorganisations += 1;
        });
        // The versions that spend what is the open seal again.
        self.load_outbox()
    }

    fn open_seal(&self) -> (u64, OutPoint) {
        let seen = self.view.seen();
        (seen.seals.len() as u64, open_seal(&self.config, &seen.seals))
    }

    fn load_outbox(&mut self) -> Result<(), AnchorError> {
        let (index, seal) = self.open_seal();
        (self.outbox, self.next_version) = load_outbox(self.store.as_ref(), index, seal)?;
        let versions = self.outbox.len() as u64;
        self.view.publish_outbox(|outbox| (outbox.versions, outbox.capped) = (versions, false));
        Ok(())
    }

    fn take_in(&mut self, height: u32, hash: BlockHash, block: &Block) -> Result<(), AnchorError> {
        if let Some(wallet) = &mut self.wallet {
            wallet.apply(block, height)?;
        }
        let mut changes = follow::header_change(height, block).to_vec();
        let mut found = Vec::new();
        let (mut index, mut seal) = self.open_seal();
        for (place, transaction) in block.txdata.iter().enumerate() {
            let spent = |outpoint: bitcoin::OutPoint| {
                outpoint.txid.to_byte_array() == seal.txid && outpoint.vout == seal.vout
            };
            if !transaction.input.iter().any(|input| spent(input.previous_output)) {
                continue;
            }
            let row = seal_row(height, block, place, transaction, seal, self.config.chain_id)?;
            seal = OutPoint { txid: row.txid, vout: 0 };
            changes.push((keys::seal(index), Some(row.encode())));
            index += 1;
            found.push(row);
        }
        if let Some(deep) = self.deep_seal(height) {
            changes.extend(outbox_keys(self.store.as_ref(), deep)?.into_iter().map(|key| (key, None)));
        }
        // Blocks without anything of ours are saved too: one small synced write for each new base block.
        self.save(changes)?;
        self.tip = Some(Tip { height, hash });
        let anchored = !found.is_empty();
        for row in &found {
            tracing::info!(size = row.size, height, "anchor in a base block");
        }
        let balance = self.wallet.as_ref().map_or(0, AnchorWallet::spendable_sat);
        self.view.publish(|seen| {
            seen.seals.extend(found);
            seen.tip_height = height;
            seen.balance_sat = balance;
        });
        if anchored { self.load_outbox() } else { Ok(()) }
    }

    /// The seal that has just become too deep for a reorganisation.
    fn deep_seal(&self, tip: u32) -> Option<u64> {
        let seen = self.view.seen();
        let height = tip.checked_sub(OUTBOX_DEPTH)?;
        seen.seals.iter().rposition(|seal| seal.height == height).map(|index| index as u64)
    }

    async fn broadcast(&mut self, row: &OutboxRow) -> Result<(), AnchorError> {
        let transaction: Transaction = deserialize(&row.transaction)
            .map_err(|error| AnchorError::Corrupt(format!("outbox: {error}")))?;
        match self.rpc.send(&transaction).await {
            Ok(_) => Ok(()),
            Err(error) => match error.code() {
                // It is in a block that we have not taken in yet.
                Some(RPC_VERIFY_ALREADY_IN_UTXO_SET) => Ok(()),
                // An input is spent by another version, or in a block that we have not taken in yet.
                Some(RPC_VERIFY_ERROR) => {
                    tracing::debug!(%error, "anchor not accepted, its inputs are unknown or spent");
                    Ok(())
                }
                Some(RPC_VERIFY_REJECTED) => {
                    // Told once, not at every try.
                    let told = Some(error.to_string());
                    if self.last_rejection != told {
                        tracing::warn!(%error, size = row.size, fee_sat = row.fee_sat, "anchor not accepted");
                        self.last_rejection = told;
                    }
                    Ok(())
                }
                _ => Err(error.into()),
            },
        }
    }

    async fn anchor(&mut self, checkpoint: Checkpoint) -> Result<bool, AnchorError> {
        let (Some(tip), Some(_)) = (self.tip, &self.wallet) else { return Ok(false) };
        let anchored = self.view.seen().seals.last().map_or(0, |seal| seal.size);
        if checkpoint.size <= anchored {
            return Ok(false);
        }
        let estimate = self.rpc.fee_rate(FEE_TARGET_BLOCKS).await.ok().flatten().unwrap_or(MIN_FEE_RATE);
        let mut fee_rate = estimate.clamp(MIN_FEE_RATE, self.config.max_fee_rate.max(MIN_FEE_RATE));
        if let Some(last) = self.outbox.last() {
            // A version gets one block's time to confirm before it is replaced.
            if tip.height <= last.made_at {
                return Ok(false);
            }
            // A replacement pays for its own relay on top of what it replaces (BIP 125 rules 3 and 4), with a margin for a
            // signature that is a byte longer.
            fee_rate =
                fee_rate.max(last.fee_rate + (last.fee_rate / 4).max(MIN_FEE_RATE + MIN_FEE_RATE / 10));
            if fee_rate > self.config.max_fee_rate || self.next_version >= MAX_VERSIONS {
                tracing::warn!(
                    fee_rate,
                    cap = self.config.max_fee_rate,
                    "anchor waits: its fee is at the cap"
                );
                self.view.publish_outbox(|outbox| outbox.capped = true);
                return Ok(false);
            }
        }
        let (index, seal) = self.open_seal();
        let payload = AnchorPayload::new(&self.config.chain_id, checkpoint.size, checkpoint.root).encode();
        let outpoint = bitcoin::OutPoint { txid: bitcoin::Txid::from_byte_array(seal.txid), vout: seal.vout };
        let Some(wallet) = self.wallet.as_mut() else { return Ok(false) };
        let (transaction, fee_sat) = wallet.make(Some((outpoint, &payload)), fee_rate, tip.height)?;
        let row = OutboxRow {
            size: checkpoint.size,
            fee_sat,
            fee_rate,
            made_at: tip.height,
            transaction: serialize(&transaction),
        };
        let version = self.next_version;
        // Written down before it is broadcast.
        self.save(vec![(keys::outbox(index, version), Some(row.encode()))])?;
        self.outbox.push(row.clone());
        self.next_version += 1;
        let versions = self.outbox.len() as u64;
        self.view.publish_outbox(|outbox| {
            (outbox.versions, outbox.fee_rate, outbox.capped) = (versions, fee_rate, false);
            outbox.fees_sat += fee_sat;
        });
        tracing::info!(size = checkpoint.size, txid = %transaction.compute_txid(), fee_sat, version, "anchoring");
        self.broadcast(&row).await?;
        Ok(true)
    }
}

fn seal_row(
    height: u32,
    block: &Block,
    place: usize,
    transaction: &Transaction,
    seal: OutPoint,
    chain_id: ChainId,
) -> Result<SealRow, AnchorError> {
    let broken = || AnchorError::SealBroken { txid: transaction.compute_txid().to_string() };
    let anchor = Anchor::of(place, transaction).map_err(|_| broken())?;
    if anchor.spends != seal || anchor.payload.chain_tag != chain_id.tag() {
        return Err(broken());
    }
    let txids: Vec<Hash> =
        block.txdata.iter().map(|transaction| transaction.compute_txid().to_byte_array()).collect();
    let mut stripped = transaction.clone();
    for input in &mut stripped.input {
        input.witness.clear();
    }
    Ok(SealRow {
        size: anchor.payload.size,
        root: anchor.payload.root,
        txid: anchor.txid,
        height,
        block_index: u32::try_from(place).unwrap_or(u32::MAX),
        block_path: block_path(&txids, place),
        transaction: serialize(&stripped),
    })
}

/// The output that the next anchor spends.
fn open_seal(config: &AnchorConfig, seals: &[SealRow]) -> OutPoint {
    seals.last().map_or(config.first_seal, |seal| OutPoint { txid: seal.txid, vout: 0 })
}
