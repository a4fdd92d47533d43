//! The roles of a ledger as processes of their own.

use std::{
    collections::BTreeMap,
    fs::File,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use assent_client::{Authorized, Client, ClientConfig};
use tempfile::TempDir;

use crate::{Ran, assent, channel, free_port, program, token};

/// A role that runs as a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The sequencer.
    Sequencer,
    /// The prover.
    Prover,
    /// A validator.
    Validator,
    /// The mock base chain.
    Mockchain,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Sequencer, Self::Prover, Self::Validator, Self::Mockchain];

    fn command(self) -> &'static str {
        match self {
            Self::Sequencer => "sequencer",
            Self::Prover => "prover",
            Self::Validator => "validator",
            Self::Mockchain => "mockchain",
        }
    }
}

/// A ledger whose roles are separate processes, each with its own folder that holds only what it needs.
pub struct Stack {
    temp: TempDir,
    ports: BTreeMap<Role, u16>,
    /// The ledger.
    pub chain: String,
    base_url: String,
    running: BTreeMap<Role, Child>,
    /// More environment for the sequencer.
    pub environment: Vec<(String, String)>,
}

impl Stack {
    /// Makes a ledger and hands each role its part. Starts nothing.
    #[must_use]
    pub fn init(block_ms: u64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let ports: BTreeMap<Role, u16> = Role::ALL.into_iter().map(|role| (role, free_port())).collect();
        let ledger = temp.path().join("ledger");
        let _ = assent(&[
            "init",
            ledger.to_str().unwrap(),
            "--mock-listen",
            &format!("127.0.0.1:{}", ports[&Role::Mockchain]),
            "--block-interval-ms",
            &block_ms.to_string(),
        ])
        .exits(0);
        let parts: [(Role, &[&str]); 4] = [
            (
                Role::Sequencer,
                &[
                    "manifest.bin",
                    "config.toml",
                    "clients.toml",
                    "keys/sequencer.key",
                    "keys/operator.token",
                    "keys/peer.token",
                ],
            ),
            (
                Role::Prover,
                &[
                    "manifest.bin",
                    "config.toml",
                    "clients.toml",
                    "keys/prover.key",
                    "keys/anchor.key",
                    "keys/peer.token",
                ],
            ),
            (Role::Validator, &["clients.toml", "keys/peer.token"]),
            (Role::Mockchain, &["config.toml", "keys/mockchain-password"]),
        ];
        for (role, files) in parts {
            let folder = temp.path().join(role.command());
            std::fs::create_dir_all(folder.join("keys")).unwrap();
            for file in files {
                std::fs::copy(ledger.join(file), folder.join(file)).unwrap();
            }
        }
        std::fs::rename(ledger.join("mockchain"), temp.path().join("mockchain/mockchain")).unwrap();
        let password = std::fs::read_to_string(ledger.join("keys/mockchain-password")).unwrap();
        let base_url = format!("http://assent:{}@127.0.0.1:{}", password.trim(), ports[&Role::Mockchain]);
        let chain = std::fs::read_to_string(ledger.join("chain-id")).unwrap().trim().to_owned();
        Self { temp, ports, chain, base_url, running: BTreeMap::new(), environment: Vec::new() }
    }

    /// A role's address.
    #[must_use]
    pub fn url(&self, role: Role) -> String {
        format!("http://127.0.0.1:{}", self.ports[&role])
    }

    /// A role's folder.
    #[must_use]
    pub fn folder(&self, role: Role) -> PathBuf {
        self.temp.path().join(role.command())
    }

    /// A path beside the folders.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// What a role has logged.
    #[must_use]
    pub fn log(&self, role: Role) -> String {
        std::fs::read_to_string(self.path(&format!("{}.log", role.command()))).unwrap_or_default()
    }

    /// How a role is started.
    #[must_use]
    pub fn command(&self, role: Role) -> Command {
        let mut command = Command::new(program("assent"));
        command.arg(role.command()).arg(self.folder(role));
        command.args(["--listen", &format!("127.0.0.1:{}", self.ports[&role])]);
        // By the environment, as a container would have it.
        command.env("ASSENT_SEAL_AGE_MS", "100").env("ASSENT_ANCHOR_INTERVAL_MS", "200");
        match role {
            Role::Sequencer => {
                command.env("ASSENT_BASE_URL", &self.base_url).envs(self.environment.iter().cloned());
            }
            Role::Prover => {
                command
                    .env("ASSENT_BASE_URL", &self.base_url)
                    .args(["--sequencer", &self.url(Role::Sequencer)]);
            }
            Role::Validator => {
                command.env("ASSENT_BASE_URL", &self.base_url);
                command.args([
                    "--sequencer",
                    &self.url(Role::Sequencer),
                    "--prover",
                    &self.url(Role::Prover),
                ]);
                command.args(["--chain", &self.chain]);
            }
            Role::Mockchain => {}
        }
        command
    }

    /// Starts a role and does not wait for it.
    pub fn start(&mut self, role: Role) {
        let path = self.path(&format!("{}.log", role.command()));
        let log = File::options().append(true).create(true).open(path).unwrap();
        let child = self.command(role).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        assert!(self.running.insert(role, child).is_none(), "{role:?} runs already");
    }

    /// Waits until a role serves.
    pub fn wait(&mut self, role: Role) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.ports[&role])).is_err() {
            let ended = self.running.get_mut(&role).unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{role:?} ended: {ended:?}\n{}", self.log(role));
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{role:?} does not come up\n{}",
                self.log(role)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a role's log says something.
    pub fn until_logged(&self, role: Role, text: &str) {
        let start = Instant::now();
        while !self.log(role).contains(text) {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{role:?} does not log {text:?}\n{}",
                self.log(role)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, role: Role) {
        let mut child = self.running.remove(&role).expect("a running role");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; waits, and gives the exit code.
    pub fn terminate(&mut self, role: Role) -> Option<i32> {
        let mut child = self.running.remove(&role).expect("a running role");
        let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(status.success());
        child.wait().unwrap().code()
    }

    /// How the operator reaches the sequencer and the prover.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(&self.url(Role::Sequencer));
        config.prover = self.url(Role::Prover);
        config.deadline = Duration::from_secs(120);
        config.credentials = token(&self.folder(Role::Sequencer).join("keys/operator.token"));
        config
    }

    /// A client of the sequencer and the prover, as the operator.
    pub async fn client(&self) -> Client {
        Client::connect(self.config()).await.unwrap()
    }

    /// A channel to a role, as the operator.
    #[must_use]
    pub fn channel(&self, role: Role) -> Authorized {
        channel(&ClientConfig { sequencer: self.url(role), ..self.config() })
    }

    /// Runs `assent` against the stack.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(program("assent"));
        command.args(args).current_dir(self.temp.path()).env("ASSENT_CHAIN", &self.chain);
        command.env("ASSENT_NODE", self.url(Role::Sequencer)).env("ASSENT_PROVER", self.url(Role::Prover));
        command.env("ASSENT_TOKEN_FILE", self.folder(Role::Sequencer).join("keys/operator.token"));
        command.output().unwrap().into()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for role in Role::ALL {
                let log = self.log(role);
                let tail: Vec<&str> = log.lines().rev().take(30).collect();
                eprintln!("--- {role:?}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
