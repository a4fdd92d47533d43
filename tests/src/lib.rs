//! What the black-box tests share: a ledger in a temporary folder, its node as a process, and clients of it.

pub mod gateway;
pub mod in_process;
pub mod journal;
pub mod stack;

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Numbers from a seed, so that a failure can be looked for again.
pub use assent_bench::random::Random;
use assent_client::{Authorized, Client, ClientConfig, Credentials, Dial};
use assent_core::{AccountId, TransactionId, signature::KeyPair};
use assent_proto::v1 as proto;
use proto::transaction_body::Act;
use serde_json::Value;
use tempfile::TempDir;

/// A program of the workspace, built before the tests (`make test` does).
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // A test lies in a folder beside the programs, a program among them.
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not built; run: cargo build --release --workspace"))
}

/// A port that nobody listens on now.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Standard output as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the exit code is this one.
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Fails unless the message contains this text, and always where it tells of a panic.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text) || self.out.contains(text), "{text:?} is not in {self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `assent` with these arguments.
pub fn assent(args: &[&str]) -> Ran {
    Command::new(program("assent")).args(args).env_remove("ASSENT_KEY").output().unwrap().into()
}

/// A ledger in a temporary folder, and its node while it runs.
pub struct Ledger {
    /// The temporary folder.
    pub temp: TempDir,
    /// gRPC port.
    pub port: u16,
    /// Port of the mock base chain.
    pub mock_port: u16,
    /// More environment for the node.
    pub environment: Vec<(String, String)>,
    node: Option<Child>,
}

impl Ledger {
    /// Makes a ledger whose mock chain mines every `block_ms`, and starts its node.
    #[must_use]
    pub fn start(block_ms: u64, confirmations: u32) -> Self {
        let mut ledger = Self::init(block_ms, confirmations);
        ledger.run();
        ledger
    }

    /// Only the temporary folder and the ports.
    #[must_use]
    pub fn without_folder() -> Self {
        Self {
            temp: tempfile::tempdir().unwrap(),
            port: free_port(),
            mock_port: free_port(),
            environment: Vec::new(),
            node: None,
        }
    }

    /// Makes a ledger and starts nothing.
    #[must_use]
    pub fn init(block_ms: u64, confirmations: u32) -> Self {
        let ledger = Self::without_folder();
        let (port, mock_port) = (ledger.port, ledger.mock_port);
        let _ = assent(&[
            "init",
            ledger.dir().to_str().unwrap(),
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--mock-listen",
            &format!("127.0.0.1:{mock_port}"),
            "--block-interval-ms",
            &block_ms.to_string(),
            "--anchor-interval-ms",
            "200",
            "--seal-age-ms",
            "100",
            "--confirmations",
            &confirmations.to_string(),
        ])
        .exits(0);
        ledger
    }

    /// The ledger's folder.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.temp.path().join("ledger")
    }

    /// A path beside the ledger's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.temp.path().join(name).to_str().unwrap().to_owned()
    }

    /// The node's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The chain id.
    #[must_use]
    pub fn chain_id(&self) -> String {
        std::fs::read_to_string(self.dir().join("chain-id")).unwrap().trim().to_owned()
    }

    /// URL of the mock base chain, with its password.
    #[must_use]
    pub fn mock_url(&self) -> String {
        let password = std::fs::read_to_string(self.dir().join("keys/mockchain-password")).unwrap();
        format!("http://assent:{}@127.0.0.1:{}", password.trim(), self.mock_port)
    }

    /// What the node has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("node.log")).unwrap_or_default()
    }

    /// Starts the node and waits until it serves.
    pub fn run(&mut self) {
        self.run_with(&[]);
    }

    /// Starts the node with more arguments.
    pub fn run_with(&mut self, args: &[&str]) {
        assert!(self.node.is_none(), "the node runs already");
        let log = File::options().append(true).create(true).open(self.path("node.log")).unwrap();
        let child = Command::new(program("assent"))
            .arg("node")
            .arg(self.dir())
            .args(args)
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.node = Some(child);
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.node.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the node ended: {ended:?}\n{}", self.log());
            assert!(start.elapsed() < Duration::from_secs(60), "the node does not come up\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The node's process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.node.as_ref().expect("a running node").id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut node = self.node.take().expect("a running node");
        node.kill().unwrap();
        node.wait().unwrap();
    }

    /// SIGTERM; waits, and gives the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut node = self.node.take().expect("a running node");
        let status = Command::new("kill").args(["-TERM", &node.id().to_string()]).status().unwrap();
        assert!(status.success());
        let start = Instant::now();
        loop {
            if let Some(status) = node.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < Duration::from_secs(30), "the node does not stop\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs `assent` against the node.
    pub fn cli(&self, args: &[&str]) -> Ran {
        Command::new(program("assent"))
            .args(args)
            .env("ASSENT_NODE", self.url())
            .env("ASSENT_CHAIN", self.chain_id())
            .env("ASSENT_TOKEN_FILE", self.dir().join("keys/operator.token"))
            .output()
            .unwrap()
            .into()
    }

    /// Makes a key and opens its account. Gives the key file and the account.
    pub fn party(&self, name: &str, kind: &str) -> (String, String) {
        let file = self.path(&format!("{name}.key"));
        let made = self.cli(&["keys", "new", &file, "--json"]).exits(0).json();
        let _ = self.cli(&["account", "open", "--kind", kind, "--key", &file]).exits(0);
        (file, made["account"].as_str().unwrap().to_owned())
    }

    /// The operator's credentials.
    #[must_use]
    pub fn operator(&self) -> Credentials {
        token(&self.dir().join("keys/operator.token"))
    }

    /// How the operator reaches the node.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(&self.url());
        config.credentials = self.operator();
        config
    }

    /// A client of the node, as its operator.
    pub async fn client(&self) -> Client {
        Client::connect(self.config()).await.unwrap()
    }

    /// A channel to the node, as its operator.
    #[must_use]
    pub fn channel(&self) -> Authorized {
        channel(&self.config())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(mut node) = self.node.take() {
            let _ = node.kill();
            let _ = node.wait();
        }
        if std::thread::panicking() {
            eprintln!("node log:\n{}", self.log());
        }
    }
}

/// Credentials with the token of a file.
#[must_use]
pub fn token(path: &Path) -> Credentials {
    Credentials { token: Some(std::fs::read_to_string(path).unwrap()), ..Credentials::default() }
}

/// A channel to the sequencer of a configuration.
#[must_use]
pub fn channel(config: &ClientConfig) -> Authorized {
    let dial = Dial::new(&config.sequencer, config.credentials.clone());
    dial.channel(&dial.endpoint().unwrap()).unwrap()
}

/// A key from a number.
#[must_use]
pub fn key(n: u64) -> KeyPair {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    KeyPair::from_seed(seed)
}

/// Opening an account as a patient.
#[must_use]
pub fn open_account() -> Act {
    Act::OpenAccount(proto::OpenAccount { kind: proto::AccountKind::Patient as i32 })
}

/// A consent that permits one recipient everything for treatment.
#[must_use]
pub fn grant_to(recipient: AccountId) -> Act {
    let provision = proto::Provision {
        effect: proto::Effect::Permit as i32,
        actors: vec![proto::Actor {
            role: proto::ActorRole::Recipient as i32,
            account: recipient.0.to_vec(),
        }],
        purposes: vec!["TREAT".into()],
        ..Default::default()
    };
    let terms = proto::ConsentTerms { provisions: vec![provision], ..Default::default() };
    Act::GrantConsent(proto::GrantConsent { terms: Some(terms), ..Default::default() })
}

/// A request for treatment.
#[must_use]
pub fn request(subject: AccountId) -> Act {
    Act::RequestAccess(proto::RequestAccess {
        subjects: vec![subject.0.to_vec()],
        scope: Some(proto::AccessScope {
            custodian: subject.0.to_vec(),
            purpose: "TREAT".into(),
            action: proto::Action::Access as i32,
            classes: vec![proto::Coding {
                system: "http://hl7.org/fhir/resource-types".into(),
                code: "Observation".into(),
            }],
            ..Default::default()
        }),
    })
}

/// A revocation by signature.
pub fn revoke(consent: TransactionId) -> Act {
    let by = proto::revoke_consent::By::ConsentId(consent.0.to_vec());
    Act::RevokeConsent(proto::RevokeConsent { by: Some(by) })
}

/// The id of a signed transaction.
#[must_use]
pub fn id_of(transaction: &proto::SignedTransaction) -> TransactionId {
    TransactionId::of_body(&transaction.body)
}

/// Writes bytes to a file.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
