//! The same ledger on a real Bitcoin Core: a change of URL.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use assent_tests::{Ledger, assent, free_port};

struct Bitcoind(Child);

impl Drop for Bitcoind {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_ledger_anchors_on_a_real_bitcoin_core() {
    let Some(program) = std::env::var_os("BITCOIND_EXE") else {
        eprintln!("skipped: BITCOIND_EXE does not name a Bitcoin Core binary");
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let rpc_port = free_port();
    let _bitcoind = Bitcoind(
        Command::new(program)
            .arg(format!("-datadir={}", temp.path().display()))
            .arg(format!("-rpcport={rpc_port}"))
            .args([
                "-regtest",
                "-listen=0",
                "-server",
                "-rpcuser=assent",
                "-rpcpassword=secret",
                "-fallbackfee=0.0001",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let url = format!("http://assent:secret@127.0.0.1:{rpc_port}");
    let mut ledger = Ledger::without_folder();
    let dir = ledger.dir();
    let init = [
        "init",
        dir.to_str().unwrap(),
        "--listen",
        &format!("127.0.0.1:{}", ledger.port),
        "--base-url",
        &url,
        "--anchor-interval-ms",
        "200",
        "--seal-age-ms",
        "100",
        "--confirmations",
        "2",
    ];
    let start = Instant::now();
    // Bitcoin Core answers "loading" until it is up.
    while assent(&init).code != 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", assent(&init));
        std::thread::sleep(Duration::from_millis(200));
    }
    ledger.run();
    let (_, patient) = ledger.party("patient", "patient");
    let shown = ledger.cli(&["account", "show", &patient, "--json"]).exits(0).json();
    assert_eq!(shown["opened_sequence"], 0);
    let (key, _) = ledger.party("clinic", "organisation");
    let asked = ledger
        .cli(&[
            "access",
            "request",
            "--subject",
            &patient,
            "--custodian",
            &patient,
            "--purpose",
            "TREAT",
            "--action",
            "access",
            "--class",
            "Observation",
            "--key",
            &key,
            "--json",
        ])
        .exits(4)
        .json();
    let id = asked["transaction_id"].as_str().unwrap().to_owned();
    // Blocks come on request only.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rpc = assent_anchor::rpc::BitcoinRpc::new(&url).unwrap();
    let start = Instant::now();
    loop {
        let shown = ledger.cli(&["tx", "show", &id, "--json"]).exits(0).json();
        if shown["tier"]["tier"] == "CONFIRMED" {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{shown}\n{}", ledger.log());
        runtime.block_on(rpc.generate(1, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    let file = ledger.path("proof.assent");
    let _ = ledger.cli(&["audit", "bundle", &id, "-o", &file]).exits(0);
    let chain = ledger.chain_id();
    assert_eq!(ledger.terminate(), Some(0));
    let _ = assent(&["verify", &file, "--chain", &chain]).exits(0).says("access DENIED");
}
