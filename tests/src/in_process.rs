//! A sequencer in the test's own process, for what the real binary cannot be made to do: clocks that stand still or jump,
//! queues of four.

use std::{path::Path, sync::Arc};

use assent_core::{
    manifest::{BaseNetwork, GenesisManifest, LedgerLimits, OutPoint},
    ruleset::Ruleset,
    seal::SealPolicy,
    signature::KeyPair,
};
use assent_gate::Caller;
use assent_metrics::Metrics;
use assent_proto::v1::sequencer_service_server::{SequencerService, SequencerServiceServer};
use assent_sequencer::{ACCOUNT_RATE, BaseFeed, QUEUE_CAPACITY, Retention, SequencerConfig, system_clock};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status,
    service::{Interceptor, InterceptorLayer},
    transport::Server,
};
use tower::layer::util::{Identity, Stack};

/// Hash of regtest's first block, in the order in which it is hashed.
const REGTEST_GENESIS: [u8; 32] = [
    0x06, 0x22, 0x6e, 0x46, 0x11, 0x1a, 0x0b, 0x59, 0xca, 0xaf, 0x12, 0x60, 0x43, 0xeb, 0x5b, 0xbf, 0x28,
    0xc3, 0x4f, 0x3a, 0x5e, 0x33, 0x2a, 0x1f, 0xc7, 0xb2, 0xb7, 0x3c, 0xf1, 0x88, 0x91, 0x0f,
];

/// Keys of sequencer and prover.
#[must_use]
pub fn ledger_keys() -> (KeyPair, KeyPair) {
    (crate::key(1001), crate::key(1002))
}

/// A ledger made at this time.
#[must_use]
pub fn manifest(created_ms: u64) -> Arc<GenesisManifest> {
    let (sequencer, prover) = ledger_keys();
    Arc::new(GenesisManifest {
        nonce: [1; 32],
        created_ms,
        sequencer_key: sequencer.public(),
        prover_key: prover.public(),
        base: BaseNetwork { name: "regtest".into(), genesis_hash: REGTEST_GENESIS },
        first_anchor: OutPoint { txid: [3; 32], vout: 0 },
        ruleset: 1,
        ruleset_hash: Ruleset::numbered(1).unwrap().hash(),
        limits: LedgerLimits::default(),
    })
}

/// A sequencer of that ledger, sealing two entries at a time.
#[must_use]
pub fn sequencer_config(folder: &Path, manifest: &Arc<GenesisManifest>) -> SequencerConfig {
    SequencerConfig {
        path: folder.join("sequencer"),
        manifest: manifest.clone(),
        key: ledger_keys().0,
        seal: SealPolicy { entries: 2, bytes: 1 << 20, age_ms: 100 },
        queue_capacity: QUEUE_CAPACITY,
        account_rate: ACCOUNT_RATE,
        metrics: Metrics::new(true, false).sequencer,
        retention: Retention::default(),
        accept_time_step: false,
        base: BaseFeed::default(),
        clock: system_clock(),
        cache_bytes: 16 * 1024 * 1024,
    }
}

/// Serves it on a free port, until the runtime ends. Gives the address.
///
/// The server keeps the sequencer's database open as long as it runs.
pub async fn serve<S: SequencerService>(service: S) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = trusting_server().add_service(SequencerServiceServer::new(service));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// A server without a gate: everybody may do everything.
#[must_use]
pub fn trusting_server() -> Server<Stack<InterceptorLayer<Trust>, Identity>> {
    Server::builder().layer(InterceptorLayer::new(Trust))
}

/// Puts a trusted caller beside every request.
#[derive(Clone, Copy, Debug)]
pub struct Trust;

impl Interceptor for Trust {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.extensions_mut().insert(Caller::trusted());
        Ok(request)
    }
}
