//! A real `bitcoind`, and what it says beside what the mock says.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::Client;

/// How often the node is asked whether it is ready, a tenth of a second apart.
const START_ATTEMPTS: u32 = 600;

/// A running `bitcoind`, killed when the test ends in whatever way.
pub(crate) struct Node {
    process: Child,
    pub(crate) client: Client,
    _data: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Node {
    pub(crate) async fn start(exe: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        // The port is free now; somebody could take it before the node does, and then the test fails loudly.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(exe)
            .args([
                "-regtest",
                "-server",
                "-listen=0",
                "-connect=0",
                "-dnsseed=0",
                "-txindex=1",
                "-printtoconsole=0",
            ])
            // The policy of Core 29, which the mock follows.
            .args(["-datacarriersize=83", "-minrelaytxfee=0.00001", "-incrementalrelayfee=0.00001"])
            .arg("-acceptnonstdtxn=0")
            .arg(format!("-rpcport={port}"))
            .arg(format!("-datadir={}", data.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut node = Self {
            process,
            client: Client { address: format!("127.0.0.1:{port}"), auth: None },
            _data: data,
        };
        for _ in 0..START_ATTEMPTS {
            assert_eq!(node.process.try_wait().unwrap(), None, "bitcoind ended early");
            node.client.auth = std::fs::read_to_string(node._data.path().join("regtest/.cookie")).ok();
            let asked = node.client.post(r#"{"id":1,"method":"getblockcount"}"#).await;
            if asked.is_some_and(|(status, _)| status == 200) {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("bitcoind did not become ready");
    }
}

/// Collects differences, so that one run shows all of them.
#[derive(Default)]
pub(crate) struct Differences(Vec<String>);

impl Differences {
    pub(crate) fn compare(&mut self, what: &str, core: &Value, mock: &Value) {
        match (core, mock) {
            (Value::Object(core), Value::Object(mock)) => {
                let names: Vec<&String> =
                    core.keys().chain(mock.keys().filter(|k| !core.contains_key(*k))).collect();
                for name in names {
                    let absent = json!("(absent)");
                    let (core, mock) = (core.get(name).unwrap_or(&absent), mock.get(name).unwrap_or(&absent));
                    self.compare(&format!("{what}.{name}"), core, mock);
                }
            }
            (Value::Array(core), Value::Array(mock)) if core.len() == mock.len() => {
                for (place, (core, mock)) in core.iter().zip(mock).enumerate() {
                    self.compare(&format!("{what}[{place}]"), core, mock);
                }
            }
            // `1` and `1.0` are the same JSON number.
            (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
            _ if core == mock => {}
            _ => self.0.push(format!("{what}\n    core: {core}\n    mock: {mock}")),
        }
    }

    pub(crate) fn report(self) {
        let shown = self.0.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.0.is_empty(), "{} differences:\n{shown}", self.0.len());
    }
}

/// The same call to both, whole replies compared.
pub(crate) async fn both(
    differences: &mut Differences,
    core: &Client,
    mock: &Client,
    method: &str,
    params: Value,
) -> Value {
    let (from_core, from_mock) =
        (core.reply(method, params.clone()).await, mock.reply(method, params.clone()).await);
    let mut what = format!("{method} {params}");
    what.truncate(160);
    differences.compare(&what, &from_core, &from_mock);
    from_core
}

/// Many calls in one batch to both, replies compared one by one; a node answers connections more slowly than calls.
pub(crate) async fn both_batch(
    differences: &mut Differences,
    core: &Client,
    mock: &Client,
    calls: &[(&str, Value)],
) -> Vec<Value> {
    let batch: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(id, (method, params))| json!({ "id": id, "method": method, "params": params }))
        .collect();
    let batch = Value::from(batch).to_string();
    let mut replies = vec![];
    for client in [core, mock] {
        let (_, body) = client.post(&batch).await.unwrap();
        replies.push(serde_json::from_str::<Vec<Value>>(&body).unwrap());
    }
    let (from_mock, from_core) = (replies.pop().unwrap(), replies.pop().unwrap());
    assert_eq!((from_core.len(), from_mock.len()), (calls.len(), calls.len()));
    for (((method, params), core), mock) in calls.iter().zip(&from_core).zip(&from_mock) {
        let mut what = format!("{method} {params}");
        what.truncate(160);
        differences.compare(&what, core, mock);
    }
    from_core
}

/// The waiting transactions of both, which a node lists in no particular order.
pub(crate) async fn both_mempools(differences: &mut Differences, core: &Client, mock: &Client) {
    let mut lists = vec![];
    for client in [core, mock] {
        let mut list: Vec<String> =
            serde_json::from_value(client.call("getrawmempool", json!([])).await).unwrap();
        list.sort_unstable();
        lists.push(json!(list));
    }
    differences.compare("getrawmempool", &lists[0], &lists[1]);
}
