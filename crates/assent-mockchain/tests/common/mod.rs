//! What the tests share: a wallet of one key, and an HTTP client as small as it can be.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod node;

use assent_mockchain::{MockChain, MockChainConfig};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::key::TapTweak;
use bitcoin::secp256k1::{All, Keypair, Message, Secp256k1};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, CompressedPublicKey, EcdsaSighashType, Network, OutPoint, ScriptBuf, Sequence,
    TapSighashType, Transaction, TxIn, TxOut, Witness,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One key, as P2WPKH and as P2TR.
pub(crate) struct Wallet {
    secp: Secp256k1<All>,
    keys: Keypair,
}

impl Wallet {
    pub(crate) fn new() -> Self {
        let secp = Secp256k1::new();
        let keys = Keypair::from_seckey_slice(&secp, &[7; 32]).unwrap();
        Self { secp, keys }
    }

    pub(crate) fn p2wpkh(&self) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&CompressedPublicKey(self.keys.public_key()).wpubkey_hash())
    }

    pub(crate) fn p2tr(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr(&self.secp, self.keys.x_only_public_key().0, None)
    }

    pub(crate) fn address(&self) -> String {
        Address::from_script(&self.p2wpkh(), Network::Regtest).unwrap().to_string()
    }

    /// Signs every input for the output it spends.
    pub(crate) fn sign(&self, tx: &mut Transaction, spent: &[TxOut]) {
        for index in 0..tx.input.len() {
            let script = &spent[index].script_pubkey;
            let witness = if script.is_p2wpkh() {
                let hash = SighashCache::new(&*tx)
                    .p2wpkh_signature_hash(index, script, spent[index].value, EcdsaSighashType::All)
                    .unwrap();
                let message = Message::from_digest(hash.to_byte_array());
                let signature = self.secp.sign_ecdsa(&message, &self.keys.secret_key());
                Witness::p2wpkh(&bitcoin::ecdsa::Signature::sighash_all(signature), &self.keys.public_key())
            } else {
                let hash = SighashCache::new(&*tx)
                    .taproot_key_spend_signature_hash(index, &Prevouts::All(spent), TapSighashType::Default)
                    .unwrap();
                let message = Message::from_digest(hash.to_byte_array());
                let keys = self.keys.tap_tweak(&self.secp, None).to_keypair();
                let signature = self.secp.sign_schnorr_no_aux_rand(&message, &keys);
                Witness::p2tr_key_spend(&bitcoin::taproot::Signature {
                    signature,
                    sighash_type: TapSighashType::Default,
                })
            };
            tx.input[index].witness = witness;
        }
    }

    /// A signed transaction of these inputs and outputs.
    pub(crate) fn pay(&self, coins: &[(OutPoint, TxOut)], outputs: Vec<TxOut>) -> Transaction {
        self.pay_locked(coins, outputs, 0, Sequence::ENABLE_RBF_NO_LOCKTIME)
    }

    /// As [`pay`](Self::pay), with a lock time and a sequence for all inputs.
    pub(crate) fn pay_locked(
        &self,
        coins: &[(OutPoint, TxOut)],
        outputs: Vec<TxOut>,
        lock: u32,
        sequence: Sequence,
    ) -> Transaction {
        let input = |(previous_output, _): &(OutPoint, TxOut)| TxIn {
            previous_output: *previous_output,
            sequence,
            ..TxIn::default()
        };
        let mut tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock),
            input: coins.iter().map(input).collect(),
            output: outputs,
        };
        let spent: Vec<TxOut> = coins.iter().map(|(_, output)| output.clone()).collect();
        self.sign(&mut tx, &spent);
        tx
    }

    /// Spends one coin to one output, less a fee.
    pub(crate) fn forward(&self, coin: &(OutPoint, TxOut), script: ScriptBuf, fee: u64) -> Transaction {
        self.pay(std::slice::from_ref(coin), vec![output(coin.1.value.to_sat() - fee, script)])
    }
}

pub(crate) fn output(sat: u64, script_pubkey: ScriptBuf) -> TxOut {
    TxOut { value: Amount::from_sat(sat), script_pubkey }
}

/// The coin that a transaction makes.
pub(crate) fn coin(tx: &Transaction, vout: u32) -> (OutPoint, TxOut) {
    (OutPoint::new(tx.compute_txid(), vout), tx.output[usize::try_from(vout).unwrap()].clone())
}

/// The coin of the coinbase at a height.
pub(crate) fn coinbase(chain: &MockChain, height: u32) -> (OutPoint, TxOut) {
    let block = chain.block(&chain.block_hash(height).unwrap()).unwrap();
    coin(&block.txdata[0], 0)
}

/// A chain in memory with `blocks` blocks that pay the wallet.
pub(crate) fn funded(wallet: &Wallet, blocks: u32) -> MockChain {
    let chain = MockChain::open(MockChainConfig::default()).unwrap();
    chain.mine_to(blocks, &wallet.p2wpkh()).unwrap();
    chain
}

/// Where a JSON-RPC server is, and how to log in.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: String,
    pub(crate) auth: Option<String>,
}

impl Client {
    /// Serves `chain` on a free port for as long as the test runs.
    pub(crate) async fn serving(chain: &MockChain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(chain.clone().serve(listener, std::future::pending()));
        Self { address, auth: None }
    }

    /// Sends bytes as the body of a POST; the status and the body of the answer, or nothing where there was none.
    pub(crate) async fn post(&self, body: &str) -> Option<(u16, String)> {
        self.request("POST", body).await
    }

    pub(crate) async fn request(&self, method: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        let auth = self.auth.as_ref().map_or_else(String::new, |auth| {
            format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(auth))
        });
        let head = format!(
            "{method} / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{auth}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        // A server that refuses the head need not read the body.
        drop(stream.write_all(body.as_bytes()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            dechunk(body)
        } else {
            body.to_owned()
        };
        Some((status, body))
    }

    /// Calls a method as JSON-RPC 1.0 does: the whole reply.
    pub(crate) async fn reply(&self, method: &str, params: Value) -> Value {
        let request = json!({ "id": 1, "method": method, "params": params });
        let (_, body) = self.post(&request.to_string()).await.unwrap();
        serde_json::from_str(&body).unwrap()
    }

    /// The result of a call that succeeds.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let mut reply = self.reply(method, params).await;
        assert_eq!(reply["error"], Value::Null, "{method}");
        reply["result"].take()
    }

    /// The code and message of a call that fails.
    pub(crate) async fn fail(&self, method: &str, params: Value) -> (i64, String) {
        let reply = self.reply(method, params).await;
        let error = &reply["error"];
        assert!(error.is_object(), "{method} answered {reply}");
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// A transaction in hex.
pub(crate) fn hex(tx: &Transaction) -> String {
    bitcoin::consensus::encode::serialize_hex(tx)
}
