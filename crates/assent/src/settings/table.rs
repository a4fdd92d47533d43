//! The table of all settings: names, ranges, defaults, meanings.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use assent_core::{
    note::{CosignerKey, MAX_COSIGNER_NAME_BYTES},
    signature::PublicKey,
};

/// What a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Everything.
    Node = 0,
    /// The sequencer.
    Sequencer = 1,
    /// The prover.
    Prover = 2,
    /// A validator.
    Validator = 3,
    /// The mock base chain.
    Mockchain = 4,
    /// None: `assent config` takes and shows all settings.
    All = 5,
}

impl Role {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Node,
            1 => Self::Sequencer,
            2 => Self::Prover,
            3 => Self::Validator,
            4 => Self::Mockchain,
            _ => Self::All,
        }
    }

    /// The section whose settings need no prefix on the command line.
    fn section(self) -> &'static str {
        match self {
            Self::Node | Self::Sequencer => "sequencer",
            Self::Prover => "prover",
            Self::Validator => "validator",
            Self::Mockchain => "mockchain",
            Self::All => "",
        }
    }
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// From, to.
    Number(u64, u64),
    /// IP address and port.
    Address,
    /// IP address and port, or nothing.
    MaybeAddress,
    /// A URL, or nothing.
    Url,
    /// A file, or nothing: from `config.toml` and by default beside it, otherwise as the command's own folder has it.
    Path,
    /// `true` or `false`.
    Switch,
    /// Keys of validators, separated by commas; or nothing.
    Keys,
    /// A name for a key; or nothing.
    Name,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in `config.toml`, with its section.
    pub key: &'static str,
    pub(super) form: Form,
    /// The default, as it is written.
    pub default: &'static str,
    /// What it means, with its unit.
    pub meaning: &'static str,
    pub(super) roles: &'static [Role],
    /// Another name of the flag than what follows from the key.
    flag: Option<&'static str>,
}

use Form::{Address, Keys, MaybeAddress, Name, Number, Path, Switch, Url};
use Role::{Mockchain, Node, Prover, Sequencer, Validator};

const SERVING: &[Role] = &[Node, Sequencer, Prover, Validator];
const FOLLOWING: &[Role] = &[Prover, Validator];
const ALL: &[Role] = &[Node, Sequencer, Prover, Validator, Mockchain];

const DAY_MS: u64 = 24 * 3_600_000;

/// All settings, in the order in which they are shown.
pub const SETTINGS: [Setting; 41] = [
    setting(
        "sequencer.listen",
        Address,
        "127.0.0.1:7420",
        &[Node, Sequencer],
        "Where the sequencer, or a node with everything in it, serves gRPC",
    ),
    setting(
        "sequencer.queue",
        Number(1, 65_536),
        "8192",
        &[Node, Sequencer],
        "Submissions that may be under way at once; more are answered QUEUE_FULL, and streams wait",
    ),
    setting(
        "seal.entries",
        Number(1, 65_536),
        "65536",
        &[Node, Sequencer],
        "A batch is sealed at this many entries",
    ),
    setting(
        "seal.bytes",
        Number(128 * 1024, 32 * 1024 * 1024),
        "33554432",
        &[Node, Sequencer],
        "A batch is sealed at this many bytes of transactions",
    ),
    setting(
        "seal.age_ms",
        Number(10, 7 * DAY_MS),
        "500",
        &[Node, Sequencer],
        "A batch is sealed when its first entry is this old, in milliseconds",
    ),
    setting(
        "retention.pace_ms",
        Number(0, 7 * DAY_MS),
        "3000",
        &[Node, Sequencer],
        "When a sealed batch has waited so long for a prover that reports, groups pause so that it can catch up; 0: they never do",
    ),
    setting(
        "retention.alarm_s",
        Number(1, 365 * 24 * 3600),
        "86400",
        &[Node, Sequencer],
        "The log warns once a minute when a sealed batch has waited so long for the prover, in seconds",
    ),
    setting(
        "retention.limit_s",
        Number(1, 365 * 24 * 3600),
        "259200",
        &[Node, Sequencer],
        "Only revocations are sequenced when a sealed batch has waited so long for the prover, in seconds",
    ),
    setting("prover.listen", Address, "127.0.0.1:7422", &[Prover], "Where the prover serves gRPC"),
    setting(
        "prover.sequencer",
        Url,
        "http://127.0.0.1:7420",
        &[Prover],
        "The sequencer that the prover follows",
    ),
    setting(
        "prover.validators",
        Keys,
        "",
        &[Node, Prover],
        "Validators whose cosignatures the prover takes in, as NAME+HASH+BASE64 with commas between (assent keys validator)",
    ),
    setting(
        "state.cache_mib",
        Number(16, 1_048_576),
        "512",
        &[Node, Prover, Validator],
        "Memory for pages of the state tree, in MiB: about 8,000 state records each",
    ),
    setting(
        "execution.cache_mib",
        Number(1, 1_048_576),
        "1536",
        &[Node, Sequencer, Prover, Validator],
        "Most memory for decoded records of state, in MiB: a million consents use 1,300; a node has two such",
    ),
    setting(
        "anchor.interval_ms",
        Number(100, 7 * DAY_MS),
        "10000",
        &[Node, Prover],
        "Least time between two new anchors, in milliseconds",
    ),
    Setting {
        flag: Some("confirmations"),
        ..setting(
            "anchor.confirmations",
            Number(1, 1_000),
            "6",
            &[Node, Prover, Validator],
            "Blocks, from the anchor's on, at which an anchor counts as confirmed",
        )
    },
    // 1 sat/vB is the least that nodes relay; 1,000 sat/vB has been paid by mistake only.
    setting(
        "anchor.max_fee_rate",
        Number(1_000, 1_000_000),
        "100000",
        &[Node, Prover],
        "Highest fee rate that is ever paid, in satoshi for 1,000 virtual bytes",
    ),
    setting(
        "anchor.birthday_height",
        Number(0, 0xffff_ffff),
        "0",
        &[Node, Prover, Validator],
        "Height of the base chain below which there is nothing of this ledger; init writes it down",
    ),
    setting("validator.listen", Address, "127.0.0.1:7423", &[Validator], "Where a validator serves gRPC"),
    setting(
        "validator.sequencer",
        Url,
        "http://127.0.0.1:7420",
        &[Validator],
        "The sequencer that the validator follows",
    ),
    setting(
        "validator.prover",
        Url,
        "http://127.0.0.1:7422",
        &[Validator],
        "The prover whose checkpoints the validator compares; empty: none",
    ),
    setting(
        "validator.name",
        Name,
        "",
        &[Validator],
        "Name under which the validator cosigns, as a schema-less URL such as example.org/validator; empty: made from its key",
    ),
    Setting {
        flag: Some("mock-listen"),
        ..setting(
            "mockchain.listen",
            Address,
            "127.0.0.1:7421",
            &[Node, Mockchain],
            "Where the mock base chain serves JSON-RPC",
        )
    },
    Setting {
        flag: Some("block-interval-ms"),
        ..setting(
            "mockchain.block_interval_ms",
            Number(50, DAY_MS),
            "5000",
            &[Node, Mockchain],
            "How often the mock base chain mines a block, in milliseconds",
        )
    },
    setting(
        "base.url",
        Url,
        "",
        &[Node, Sequencer, Prover, Validator],
        "The base chain's JSON-RPC, as http://user:password@host:port, or https; empty: this folder's mock base chain, if it has one",
    ),
    setting(
        "base.poll_ms",
        Number(50, 600_000),
        "500",
        &[Node, Sequencer],
        "How often the sequencer asks for blocks to cite, in milliseconds",
    ),
    setting(
        "tls.certificate",
        Path,
        "",
        ALL,
        "Certificate chain that this process shows, as a server and to other roles, in PEM; empty: no TLS",
    ),
    setting("tls.key", Path, "", ALL, "The key of tls.certificate, in PEM, readable by its owner alone"),
    setting(
        "tls.client_ca",
        Path,
        "",
        ALL,
        "Authorities whose client certificates are believed, in PEM; empty: clients show tokens",
    ),
    setting(
        "tls.require_client_certificate",
        Switch,
        "false",
        ALL,
        "Refuse connections without a client certificate; otherwise a token or a signed query does",
    ),
    setting(
        "tls.ca",
        Path,
        "",
        SERVING,
        "Authorities whose server certificates are believed when other roles are called, in PEM; empty: the system's",
    ),
    setting(
        "access.file",
        Path,
        "clients.toml",
        SERVING,
        "Who may call, and as what (assent clients); made at the first start where there is none",
    ),
    setting(
        "access.token_file",
        Path,
        "keys/peer.token",
        FOLLOWING,
        "Token that this process shows to other roles, if the file exists",
    ),
    // At a window of 512 KiB each, half a gibibyte at the worst.
    setting("limit.connections", Number(1, 65_536), "1024", SERVING, "Open connections"),
    // Behind a proxy or a container network all clients may have one address.
    setting(
        "limit.address_connections",
        Number(1, 65_536),
        "512",
        SERVING,
        "Open connections from one address",
    ),
    // Twice the queue: where it is full of unary calls, there is room for all others.
    setting(
        "limit.calls",
        Number(1, 1_048_576),
        "16384",
        SERVING,
        "Calls under way, open streams among them",
    ),
    // Three times what two cores sequence.
    setting(
        "limit.client_rate",
        Number(1, 10_000_000),
        "100000",
        SERVING,
        "Calls, transactions and messages of streams that one client may send a second",
    ),
    setting(
        "limit.account_rate",
        Number(1, 10_000_000),
        "1000",
        &[Node, Sequencer],
        "Transactions that one account may submit a second; unary calls past it are refused, streams wait",
    ),
    setting(
        "limit.receiving_mib",
        Number(1, 65_536),
        "256",
        SERVING,
        "Memory for request messages that have arrived in part, in MiB",
    ),
    // Longer than a prover takes for its largest batch.
    setting(
        "limit.slow_reader_s",
        Number(1, 3_600),
        "60",
        SERVING,
        "A connection is closed when nobody has read what waits on it for so long, in seconds",
    ),
    setting(
        "metrics.listen",
        MaybeAddress,
        "",
        SERVING,
        "Where Prometheus reads metrics, by HTTP at /metrics, as a client with role operate; empty: nowhere",
    ),
    setting(
        "insecure",
        Switch,
        "false",
        ALL,
        "Listen on other than loopback addresses WITHOUT TLS: tokens and records are readable on the way",
    ),
];

const fn setting(
    key: &'static str,
    form: Form,
    default: &'static str,
    roles: &'static [Role],
    meaning: &'static str,
) -> Setting {
    Setting { key, form, default, meaning, roles, flag: None }
}

impl Setting {
    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ASSENT_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// The flag of a role's command.
    #[must_use]
    pub fn flag(&self, role: Role) -> String {
        let (section, name) = self.key.split_once('.').unwrap_or(("", self.key));
        if !section.is_empty() && section == role.section() {
            return name.replace('_', "-");
        }
        self.flag.map_or_else(|| self.key.replace(['.', '_'], "-"), str::to_owned)
    }

    pub(super) fn concerns(&self, role: Role) -> bool {
        role == Role::All || self.roles.contains(&role)
    }

    /// What it may be, for people.
    #[must_use]
    pub fn range(&self) -> String {
        match self.form {
            Number(from, to) => format!("{from} to {to}"),
            Address => "IP address and port".to_owned(),
            MaybeAddress => "IP address and port, or nothing".to_owned(),
            Url => "URL".to_owned(),
            Path => "file".to_owned(),
            Switch => "true or false".to_owned(),
            Keys => "keys".to_owned(),
            Name => "name".to_owned(),
        }
    }

    pub(super) fn check(&self, value: &str) -> anyhow::Result<()> {
        match self.form {
            Number(from, to) => {
                let number: u64 =
                    value.parse().ok().with_context(|| format!("expected a number, found {value:?}"))?;
                ensure!((from..=to).contains(&number), "expected {from} to {to}, found {number}");
            }
            Address => {
                value.parse::<SocketAddr>().ok().with_context(|| {
                    format!("expected an IP address and port such as 127.0.0.1:7420, found {value:?}")
                })?;
            }
            MaybeAddress if value.is_empty() => {}
            MaybeAddress => {
                value.parse::<SocketAddr>().ok().with_context(|| {
                    format!(
                        "expected an IP address and port such as 127.0.0.1:7430, or nothing, found {value:?}"
                    )
                })?;
            }
            Path => ensure!(!value.contains('\0'), "expected the name of a file"),
            Url => ensure!(
                value.is_empty() || value.starts_with("http://") || value.starts_with("https://"),
                "expected nothing, or a URL such as http://127.0.0.1:7420; the value is not shown, as it may hold a password"
            ),
            Switch => ensure!(["true", "false"].contains(&value), "expected true or false, found {value:?}"),
            Keys => {
                let keys = cosigner_keys(value)?;
                ensure!(keys.len() <= MAX_VALIDATORS, "{} keys, at most {MAX_VALIDATORS}", keys.len());
                for (index, key) in keys.iter().enumerate() {
                    let twice = keys[..index].iter().any(|other| other.name() == key.name());
                    ensure!(!twice, "two validators have the name {}", key.name());
                }
            }
            Name => {
                let any = PublicKey([0; 32]);
                ensure!(
                    value.is_empty() || CosignerKey::new(value, any).is_ok(),
                    "expected a name without white space and +, of at most {MAX_COSIGNER_NAME_BYTES} bytes, found {value:?}"
                );
            }
        }
        Ok(())
    }
}

/// Validators that a prover takes cosignatures of: a note has 64 signature lines, of which one is the prover's.
const MAX_VALIDATORS: usize = 32;

/// Keys of validators, separated by commas.
pub(super) fn cosigner_keys(text: &str) -> anyhow::Result<Vec<CosignerKey>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| Ok(part.parse::<CosignerKey>()?)).collect()
}
