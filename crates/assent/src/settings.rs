//! The settings of all roles: one table, three places.
//!
//! A value comes from `config.toml` in the ledger's folder, over it from the environment, over that from a flag.
//! `assent config` shows what came of it. Every value is checked against its range before anything starts, and an error
//! names the place that the value came from.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::Path};

use anyhow::{Context, bail, ensure};
use assent_core::{
    note::{CosignerKey, MAX_COSIGNER_NAME_BYTES},
    signature::PublicKey,
};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::files;

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
    const fn of(number: u8) -> Self {
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
enum Form {
    /// From, to.
    Number(u64, u64),
    /// IP address and port.
    Address,
    /// A URL, or nothing.
    Url,
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
    form: Form,
    /// The default, as it is written.
    pub default: &'static str,
    /// What it means, with its unit.
    pub meaning: &'static str,
    roles: &'static [Role],
    /// Another name of the flag than what follows from the key.
    flag: Option<&'static str>,
}

use Form::{Address, Keys, Name, Number, Switch, Url};
use Role::{Mockchain, Node, Prover, Sequencer, Validator};

const DAY_MS: u64 = 24 * 3_600_000;

/// All settings, in the order in which they are shown.
pub const SETTINGS: [Setting; 24] = [
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
        "4096",
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
        "The base chain's JSON-RPC, as http://user:password@host:port; empty: this folder's mock base chain, if it has one",
    ),
    setting(
        "base.poll_ms",
        Number(50, 600_000),
        "500",
        &[Node, Sequencer],
        "How often the sequencer asks for blocks to cite, in milliseconds",
    ),
    setting(
        "insecure",
        Switch,
        "false",
        &[Node, Sequencer, Prover, Validator, Mockchain],
        "Listen on other than loopback addresses, WITHOUT encryption and access control: for networks that you trust",
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

    fn concerns(&self, role: Role) -> bool {
        role == Role::All || self.roles.contains(&role)
    }

    /// What it may be, for people.
    #[must_use]
    pub fn range(&self) -> String {
        match self.form {
            Number(from, to) => format!("{from} to {to}"),
            Address => "IP address and port".to_owned(),
            Url => "URL".to_owned(),
            Switch => "true or false".to_owned(),
            Keys => "keys".to_owned(),
            Name => "name".to_owned(),
        }
    }

    fn check(&self, value: &str) -> anyhow::Result<()> {
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
            Url => ensure!(
                value.is_empty() || value.starts_with("http://"),
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
fn cosigner_keys(text: &str) -> anyhow::Result<Vec<CosignerKey>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| Ok(part.parse::<CosignerKey>()?)).collect()
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// `config.toml`.
    File(String),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(path),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Flags of a role's command: `Flags<{ Role::Node as u8 }>`.
#[derive(Clone, Debug, Default)]
pub struct Flags<const ROLE: u8>(BTreeMap<&'static str, String>);

impl<const ROLE: u8> Args for Flags<ROLE> {
    fn augment_args(mut command: Command) -> Command {
        let role = Role::of(ROLE);
        for setting in SETTINGS.iter().filter(|setting| setting.concerns(role)) {
            let shown = if setting.default.is_empty() { "none" } else { setting.default };
            let mut arg = Arg::new(setting.key)
                .long(setting.flag(role))
                .help_heading("Settings (see assent config --help)")
                .help(format!("{} [default: {shown}]", setting.meaning));
            arg = match setting.form {
                Number(..) => arg.value_name("NUMBER"),
                Address => arg.value_name("ADDRESS"),
                Url => arg.value_name("URL"),
                Keys => arg.value_name("KEY,…"),
                Name => arg.value_name("NAME"),
                Switch => {
                    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
                }
            };
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const ROLE: u8> FromArgMatches for Flags<ROLE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS.iter().filter(|setting| setting.concerns(Role::of(ROLE))) {
            if let Some(value) = matches.get_one::<String>(setting.key) {
                self.0.insert(setting.key, value.clone());
            }
        }
        Ok(())
    }
}

impl<const ROLE: u8> Flags<ROLE> {
    /// The settings that were given.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The effective settings, over a file that need not exist.
    pub fn over(&self, file: &Path) -> anyhow::Result<Settings> {
        let role = Role::of(ROLE);
        let mut settings = Settings::defaults();
        if file.exists() {
            settings.read_file(file)?;
        }
        settings.read_environment()?;
        for setting in &SETTINGS {
            if let Some(value) = self.0.get(setting.key) {
                settings.set(setting, value.clone(), Origin::Flag(setting.flag(role)))?;
            }
        }
        settings.check_together()?;
        Ok(settings)
    }
}

/// The effective settings.
#[derive(Clone, Debug)]
pub struct Settings(BTreeMap<&'static str, (String, Origin)>);

impl Settings {
    fn defaults() -> Self {
        let values =
            SETTINGS.iter().map(|setting| (setting.key, (setting.default.to_owned(), Origin::Default)));
        Self(values.collect())
    }

    fn set(&mut self, setting: &Setting, value: String, origin: Origin) -> anyhow::Result<()> {
        setting.check(&value).with_context(|| format!("{} from {origin}", setting.key))?;
        self.0.insert(setting.key, (value, origin));
        Ok(())
    }

    fn read_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let wrong = || format!("{} cannot be read", path.display());
        let text = files::read_text(path)?;
        let table: toml::Table = toml::from_str(&text).map_err(|error| {
            // Without the line itself, which may hold a password.
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count());
            anyhow::anyhow!("{}: near line {line}: {}", wrong(), error.message())
        })?;
        let mut flat = Vec::new();
        for (name, value) in table {
            match value {
                toml::Value::Table(section) => {
                    flat.extend(section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
                }
                value => flat.push((name, value)),
            }
        }
        for (key, value) in flat {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                bail!("{}: there is no setting {key}; assent config shows all", path.display());
            };
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(switch) => switch.to_string(),
                other => bail!("{}: {key} is a {}", path.display(), other.type_str()),
            };
            self.set(setting, value, Origin::File(path.display().to_string()))?;
        }
        Ok(())
    }

    fn read_environment(&mut self) -> anyhow::Result<()> {
        for setting in &SETTINGS {
            let variable = setting.variable();
            match std::env::var(&variable) {
                // An empty variable is what compose files make of one that is not set.
                Ok(value) if value.is_empty() && !matches!(setting.form, Url) => {}
                Ok(value) => self.set(setting, value, Origin::Environment(variable))?,
                Err(std::env::VarError::NotPresent) => {}
                Err(error) => bail!("{variable}: {error}"),
            }
        }
        // A variable of a section that has no such setting may be a spelling mistake.
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            let sections = SETTINGS.iter().filter_map(|setting| setting.key.split_once('.'));
            let mut prefixes = sections.map(|(section, _)| format!("ASSENT_{}_", section.to_uppercase()));
            if prefixes.any(|prefix| name.starts_with(&prefix))
                && !SETTINGS.iter().any(|setting| setting.variable() == name)
            {
                // No error: orchestrators put variables of their own beside ours.
                tracing::warn!(
                    "there is no setting for the environment variable {name}; assent config shows all"
                );
            }
        }
        Ok(())
    }

    fn check_together(&self) -> anyhow::Result<()> {
        let (alarm, limit) = (self.number("retention.alarm_s"), self.number("retention.limit_s"));
        ensure!(
            alarm <= limit,
            "retention.alarm_s is {alarm}, above retention.limit_s, which is {limit}: the alarm would come too late"
        );
        Ok(())
    }

    /// A value and where it came from.
    #[must_use]
    pub fn get(&self, setting: &Setting) -> (&str, &Origin) {
        self.0.get(setting.key).map_or((setting.default, &Origin::Default), |(value, origin)| (value, origin))
    }

    /// A value as text. Only keys of the table are asked for; a test looks at every one.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", |(value, _)| value)
    }

    /// Keys of validators, checked when they were set.
    #[must_use]
    pub fn cosigner_keys(&self, key: &str) -> Vec<CosignerKey> {
        cosigner_keys(self.text(key)).unwrap_or_default()
    }

    /// A number, checked when it was set.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or_default()
    }

    /// A number that its range keeps within 32 bits.
    #[must_use]
    pub fn number32(&self, key: &str) -> u32 {
        u32::try_from(self.number(key)).unwrap_or(u32::MAX)
    }

    /// A switch.
    #[must_use]
    pub fn switch(&self, key: &str) -> bool {
        self.text(key) == "true"
    }

    /// An address to listen on; other than loopback only where that was asked for.
    pub fn listen(&self, key: &str) -> anyhow::Result<SocketAddr> {
        let address: SocketAddr = self.text(key).parse().with_context(|| key.to_owned())?;
        if !address.ip().is_loopback() {
            ensure!(
                self.switch("insecure"),
                "{key} is {address}: there is no encryption and no access control, so only loopback addresses are listened \
                 on unless you say --insecure (for networks that you trust)"
            );
            tracing::warn!(%address, "INSECURE: listening beyond loopback without encryption or access control");
        }
        Ok(address)
    }
}

/// A value as it may be shown: a URL without its password.
#[must_use]
pub fn shown(value: &str) -> String {
    match value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (user, host))) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}:***@{host}")
        }
        None => value.to_owned(),
    }
}

/// A `config.toml` that sets what was given and explains the rest.
#[must_use]
pub fn file_with(given: &BTreeMap<&str, String>) -> String {
    let mut text = String::from(
        "# Settings of this ledger's processes. A variable such as ASSENT_SEAL_AGE_MS overrides the file, a flag such as\n\
         # --seal-age-ms overrides both. What holds in the end, and why: assent config DIR\n",
    );
    // What is in no section has to stand first.
    let (without, within): (Vec<_>, Vec<_>) = SETTINGS.iter().partition(|setting| !setting.key.contains('.'));
    let mut open = "";
    for setting in without.into_iter().chain(within) {
        let (section, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if section != open {
            text.push_str(&format!("\n[{section}]\n"));
            open = section;
        }
        let quoted = |value: &str| match setting.form {
            Number(..) | Switch => value.to_owned(),
            Address | Url | Keys | Name => format!("{value:?}"),
        };
        text.push_str(&format!("# {}: {}.\n", setting.meaning, setting.range()));
        match given.get(setting.key) {
            Some(value) => text.push_str(&format!("{name} = {}\n", quoted(value))),
            None => text.push_str(&format!("# {name} = {}\n", quoted(setting.default))),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_valid_default_its_own_names_and_a_role() {
        let mut names = std::collections::BTreeSet::new();
        for setting in &SETTINGS {
            setting.check(setting.default).unwrap();
            assert!(!setting.roles.is_empty() && names.insert(setting.variable()), "{}", setting.key);
        }
        for role in [Node, Sequencer, Prover, Validator, Mockchain, Role::All] {
            let mut flags = std::collections::BTreeSet::new();
            for setting in SETTINGS.iter().filter(|setting| setting.concerns(role)) {
                assert!(flags.insert(setting.flag(role)), "{role:?} {}", setting.key);
            }
        }
    }

    #[test]
    fn what_init_writes_is_read_back_and_a_password_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let given: BTreeMap<_, _> =
            SETTINGS.iter().map(|setting| (setting.key, setting.default.to_owned())).collect();
        std::fs::write(&path, file_with(&given)).unwrap();
        let mut settings = Settings::defaults();
        settings.read_file(&path).unwrap();
        for setting in &SETTINGS {
            assert_eq!(settings.get(setting).0, setting.default);
            assert_ne!(*settings.get(setting).1, Origin::Default);
        }
        std::fs::write(&path, file_with(&BTreeMap::new())).unwrap();
        let mut settings = Settings::defaults();
        settings.read_file(&path).unwrap();
        assert!(SETTINGS.iter().all(|setting| *settings.get(setting).1 == Origin::Default));
        assert_eq!(shown("http://me:secret@host:1/x"), "http://me:***@host:1/x");
        assert_eq!(shown("http://host:1"), "http://host:1");
    }
}
