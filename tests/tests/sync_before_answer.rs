//! Durable before acknowledged, seen from the kernel: the log's sync has returned before the first byte of an answer is
//! written.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use assent_client::Submitted;
use assent_tests::{
    id_of, key, open_account,
    stack::{Role, Stack},
};

/// Where in the trace each step is, by line.
#[derive(Debug, Default)]
struct Steps {
    /// The transaction's bytes are written to the log.
    logged: Option<usize>,
    /// A sync of that file that began after it has returned.
    synced: Option<usize>,
    /// Its receipt is written to a socket.
    answered: Option<usize>,
}

/// The process that a line of the trace is about, and the call.
fn parts(line: &str) -> (&str, &str) {
    let (process, call) = line.trim_start().split_once(' ').unwrap_or(("", line));
    (process, call.trim_start())
}

/// The file or socket that a call is about: `name(5</path>, …`.
fn target(call: &str) -> &str {
    call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(target, _)| target)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn steps(lines: &[&str], body: &[u8], id: &[u8]) -> Steps {
    let body = hex(&body[body.len() - 20..]);
    // A frame of HTTP/2 may end in the middle of an id, but not in both halves of it.
    let halves = [hex(&id[..16]), hex(&id[16..])];
    let mut steps = Steps::default();
    // With -xx, strace writes paths in hexadecimal too.
    let is_log = |target: &str| target.ends_with(".log") || target.ends_with(&hex(b".log"));
    let mut log = "";
    let mut syncing: Vec<&str> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let (process, call) = parts(line);
        let is_write = ["write(", "writev(", "pwrite64(", "sendto(", "sendmsg("]
            .iter()
            .any(|name| call.starts_with(name));
        let is_sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if is_write && steps.logged.is_none() && is_log(target(call)) && call.contains(&body) {
            steps.logged = Some(index);
            log = target(call);
        } else if is_sync && steps.logged.is_some() && target(call) == log {
            if call.contains("<unfinished") {
                syncing.push(process);
            } else if call.contains("= 0") {
                steps.synced = steps.synced.or(Some(index));
            }
        } else if call.contains("sync resumed>") && call.contains("= 0") && syncing.contains(&process) {
            steps.synced = steps.synced.or(Some(index));
        } else if is_write
            && target(call).starts_with("TCP:")
            && halves.iter().any(|half| call.contains(half))
        {
            steps.answered = steps.answered.or(Some(index));
        }
    }
    steps
}

#[test]
fn the_sync_of_the_log_returns_before_the_receipt_is_written() {
    let stack = Stack::init(60_000);
    let trace = stack.path("trace");
    let plain = stack.command(Role::Sequencer);
    let mut traced = Command::new("strace");
    traced.args([
        "-f",
        "-yy",
        "-xx",
        "-s",
        "65536",
        "-e",
        "trace=fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg",
    ]);
    traced.arg("-o").arg(&trace).arg("--").arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        traced.env(name, value.unwrap());
    }
    let mut child = match traced.stdout(Stdio::null()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            // `make test` installs it; elsewhere this test needs it.
            eprintln!("SKIPPED: strace cannot be run: {error}");
            return;
        }
    };
    let address = stack.url(Role::Sequencer);
    let start = Instant::now();
    while TcpStream::connect(address.trim_start_matches("http://")).is_err() {
        if let Some(status) = child.try_wait().unwrap() {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains("ptrace") || text.contains("PTRACE"), "{status}: {text}");
            eprintln!("SKIPPED: this machine does not allow tracing: {text}");
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the sequencer does not come up under strace");
        std::thread::sleep(Duration::from_millis(50));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let transactions = runtime.block_on(async {
        let client = stack.client().await;
        let transactions: Vec<_> = (0..64).map(|n| client.sign(&key(n), open_account()).unwrap()).collect();
        // One by one, side by side, and in a stream: answers in all three ways.
        for transaction in &transactions[..8] {
            client.submit(transaction).await.unwrap();
        }
        let side_by_side: Vec<_> = transactions[8..32]
            .iter()
            .cloned()
            .map(|transaction| {
                let client = client.clone();
                tokio::spawn(async move { client.submit(&transaction).await.unwrap() })
            })
            .collect();
        for submitted in side_by_side {
            assert!(matches!(submitted.await.unwrap(), Submitted::Sequenced(_)));
        }
        let (sender, mut results) = client.stream();
        for transaction in &transactions[32..] {
            sender.send(transaction.clone()).await.unwrap();
        }
        drop(sender);
        while let Some(item) = results.next().await {
            item.result.unwrap();
        }
        transactions
    });
    let status = Command::new("pkill").args(["-TERM", "-P", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    child.wait().unwrap();
    let trace = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    for transaction in &transactions {
        let steps = steps(&lines, &transaction.body, &id_of(transaction).0);
        let (Some(logged), Some(synced), Some(answered)) = (steps.logged, steps.synced, steps.answered)
        else {
            panic!("a step is missing in the trace of {} lines: {steps:?}", lines.len());
        };
        assert!(logged < synced && synced < answered, "answered before it was on disk: {steps:?}");
    }
    eprintln!(
        "{} transactions: logged, synced and answered in this order, in {} calls",
        transactions.len(),
        lines.len()
    );
}
