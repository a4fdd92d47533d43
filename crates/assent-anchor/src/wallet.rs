//! Keys and coins: a BIP 84 wallet of our own, fed with blocks, never with a node's wallet.
//!
//! Only blocks count: the wallet knows no unconfirmed transaction. Every version of an anchor is therefore made from
//! confirmed coins, and replacing one is making it anew.

use bdk_wallet::{
    ChangeSet, KeychainKind, Wallet, coin_selection::LargestFirstCoinSelection, template::Bip84,
    tx_builder::TxOrdering,
};
use bitcoin::{
    Amount, Block, FeeRate, Network, OutPoint, ScriptBuf, Sequence, Transaction, bip32::Xpriv,
    hashes::Hash as _, script::PushBytesBuf,
};
use thiserror::Error;

use crate::rpc::{BitcoinRpc, RpcError};

/// Value of a seal output in satoshi: well above the dust limit at any fee rate (294 for its kind of output), small enough
/// that nobody minds that it is never spent for anything else.
pub const SEAL_VALUE_SAT: u64 = 10_000;

/// Why the wallet cannot do something.
#[derive(Debug, Error)]
pub enum WalletError {
    /// Set-up.
    #[error("the anchoring wallet cannot be opened: {0}")]
    Open(String),
    /// A block does not fit.
    #[error("block {height} does not connect to the wallet's chain: {problem}")]
    Connect {
        /// Height.
        height: u32,
        /// Why.
        problem: String,
    },
    /// No coins.
    #[error("the anchoring wallet has too few coins for fees; send some to {address}: {problem}")]
    Funds {
        /// Where to.
        address: String,
        /// Why.
        problem: String,
    },
    /// The seal is not ours to spend.
    #[error(
        "the wallet does not know the seal {0}; it was funded with another key, or before the wallet's birthday"
    )]
    UnknownSeal(OutPoint),
    /// Building or signing failed.
    #[error("the anchor cannot be made: {0}")]
    Build(String),
}

/// The wallet.
pub struct AnchorWallet {
    wallet: Wallet,
    master: Xpriv,
}

impl AnchorWallet {
    /// Opens the wallet of a 32-byte seed with what it staged before.
    ///
    /// # Errors
    /// [`WalletError::Open`].
    pub fn open(seed: &[u8; 32], network: Network, saved: Option<ChangeSet>) -> Result<Self, WalletError> {
        let open = |error: &dyn std::fmt::Display| WalletError::Open(error.to_string());
        let master = Xpriv::new_master(network, seed).map_err(|error| open(&error))?;
        let (external, internal) =
            (Bip84(master, KeychainKind::External), Bip84(master, KeychainKind::Internal));
        let wallet = match saved {
            Some(saved) => Wallet::load()
                .descriptor(KeychainKind::External, Some(external))
                .descriptor(KeychainKind::Internal, Some(internal))
                .check_network(network)
                .load_wallet_no_persist(saved)
                .map_err(|error| open(&error))?
                .ok_or_else(|| WalletError::Open("nothing was saved".into()))?,
            None => {
                let mut wallet = Wallet::create(external, internal)
                    .network(network)
                    .create_wallet_no_persist()
                    .map_err(|error| open(&error))?;
                // Seals and funding pay here; whatever comes to it must be recognised.
                let _ = wallet.reveal_addresses_to(KeychainKind::External, 0);
                wallet
            }
        };
        Ok(Self { wallet, master })
    }

    /// Where funds are to be sent, and seals are paid.
    #[must_use]
    pub fn address(&self) -> String {
        self.wallet.peek_address(KeychainKind::External, 0).address.to_string()
    }

    fn seal_script(&self) -> ScriptBuf {
        self.wallet.peek_address(KeychainKind::External, 0).address.script_pubkey()
    }

    /// What can be spent, in satoshi.
    #[must_use]
    pub fn spendable_sat(&self) -> u64 {
        let balance = self.wallet.balance();
        (balance.confirmed + balance.immature).to_sat()
    }

    /// Takes in a block of the followed branch. Only blocks with coins of ours are kept, and those that take the place of
    /// one that was.
    ///
    /// # Errors
    /// [`WalletError::Connect`].
    pub fn apply(&mut self, block: &Block, height: u32) -> Result<(), WalletError> {
        let tip = self.wallet.latest_checkpoint();
        let relevant = block.txdata.iter().any(|transaction| {
            transaction.output.iter().any(|output| self.wallet.is_mine(output.script_pubkey.clone()))
                || transaction
                    .input
                    .iter()
                    .any(|input| self.wallet.get_tx(input.previous_output.txid).is_some())
        });
        if height == 0 || (!relevant && tip.height() < height) {
            return Ok(());
        }
        let Some(below) = tip.iter().find(|checkpoint| checkpoint.height() < height) else { return Ok(()) };
        self.wallet
            .apply_block_connected_to(block, height, below.block_id())
            .map_err(|error| WalletError::Connect { height, problem: error.to_string() })
    }

    /// The change that makes the wallet forget all blocks above a height, or `None` where it knows none.
    #[must_use]
    pub fn forget_above(&self, height: u32) -> Option<ChangeSet> {
        let mut forgotten = ChangeSet::default();
        let known = self.wallet.latest_checkpoint();
        let above = known.iter().take_while(|checkpoint| checkpoint.height() > height);
        forgotten.local_chain.blocks = above.map(|checkpoint| (checkpoint.height(), None)).collect();
        (!forgotten.local_chain.blocks.is_empty()).then_some(forgotten)
    }

    /// What has changed since the last call, to be saved.
    pub fn take_staged(&mut self) -> Option<ChangeSet> {
        self.wallet.take_staged()
    }

    /// Makes a transaction whose output 0 is a seal: spending `seal` with input 0 and carrying the payload in output 1, or
    /// without both for the first. `height` is that of the tip. Returns it with its fee in satoshi.
    ///
    /// # Errors
    /// [`WalletError`].
    pub fn make(
        &mut self,
        seal: Option<(OutPoint, &[u8])>,
        fee_rate_per_kvb: u64,
        height: u32,
    ) -> Result<(Transaction, u64), WalletError> {
        let build = |error: &dyn std::fmt::Display| WalletError::Build(error.to_string());
        let (script, address) = (self.seal_script(), self.address());
        let mut builder = self.wallet.build_tx().coin_selection(LargestFirstCoinSelection);
        builder
            .ordering(TxOrdering::Untouched)
            .current_height(height)
            .set_exact_sequence(Sequence::ENABLE_RBF_NO_LOCKTIME)
            .fee_rate(FeeRate::from_sat_per_kwu(fee_rate_per_kvb.div_ceil(4)))
            .add_recipient(script, Amount::from_sat(SEAL_VALUE_SAT));
        if let Some((outpoint, payload)) = seal {
            builder.add_utxo(outpoint).map_err(|_| WalletError::UnknownSeal(outpoint))?;
            let data = PushBytesBuf::try_from(payload.to_vec()).map_err(|error| build(&error))?;
            builder.add_data(&data);
        }
        let mut psbt =
            builder.finish().map_err(|error| WalletError::Funds { address, problem: error.to_string() })?;
        psbt.sign(&self.master, self.wallet.secp_ctx())
            .map_err(|(_, errors)| WalletError::Build(format!("an input could not be signed: {errors:?}")))?;
        if !self.wallet.try_finalize_psbt(&mut psbt).map_err(|error| build(&error))?.is_finalized() {
            return Err(WalletError::Build("not every input could be signed".into()));
        }
        let fee = psbt.fee().map_err(|error| build(&error))?.to_sat();
        let transaction = psbt.extract_tx().map_err(|error| build(&error))?;
        let in_order = seal.is_none_or(|(outpoint, _)| {
            transaction.input.first().is_some_and(|input| input.previous_output == outpoint)
        });
        if !in_order {
            return Err(WalletError::Build("the seal is not spent by input 0".into()));
        }
        Ok((transaction, fee))
    }
}

/// The outcome of funding a new ledger.
#[derive(Clone, Debug)]
pub struct Funding {
    /// The manifest's first anchor outpoint: transaction in the order in which it is hashed, and output.
    pub outpoint: assent_core::manifest::OutPoint,
    /// Height from which the wallet has to look at blocks.
    pub birthday_height: u32,
}

/// Blocks until a coinbase can be spent.
const COINBASE_MATURITY: u32 = 100;

/// Makes coins on a regtest chain, mock or real, and pays the first seal.
///
/// # Errors
/// [`crate::AnchorError`].
pub async fn fund_on_regtest(rpc: &BitcoinRpc, seed: &[u8; 32]) -> Result<Funding, crate::AnchorError> {
    let mut wallet = AnchorWallet::open(seed, Network::Regtest, None)?;
    let birthday_height = rpc.chain_info().await?.blocks;
    let address = wallet.address();
    let mut hashes = rpc.generate(1, &address).await?;
    hashes.extend(rpc.generate(COINBASE_MATURITY, &address).await?);
    let mut height = birthday_height;
    for hash in &hashes {
        height += 1;
        wallet.apply(&rpc.block(hash).await?, height)?;
    }
    let (transaction, _) = wallet.make(None, 2_000, height)?;
    let txid = rpc.send(&transaction).await?;
    let mined = rpc.generate(1, &address).await?;
    let included = match mined.first() {
        Some(hash) => rpc.block(hash).await?.txdata.iter().any(|mined| mined.compute_txid() == txid),
        None => false,
    };
    if !included {
        return Err(RpcError::Malformed {
            method: "generatetoaddress",
            status: 200,
            problem: "the funding transaction is not in the block".into(),
        }
        .into());
    }
    let outpoint = assent_core::manifest::OutPoint { txid: txid.to_byte_array(), vout: 0 };
    Ok(Funding { outpoint, birthday_height })
}
