//! The settings of all roles: one table, three places.
//!
//! A value comes from `config.toml` in the ledger's folder, over it from the environment, over that from a flag.
//! `assent config` shows what came of it. Every value is checked against its range before anything starts, and an error
//! names the place that the value came from.

mod table;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use assent_core::note::CosignerKey;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::files;

use table::{
    Form::{self, Address, Keys, MaybeAddress, Name, Number, Switch, Url},
    cosigner_keys,
};
pub use table::{Role, SETTINGS, Setting};

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
                Address | MaybeAddress => arg.value_name("ADDRESS"),
                Form::Path => arg.value_name("FILE"),
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
                Ok(value) if value.is_empty() && !matches!(setting.form, Url | MaybeAddress | Form::Path) => {
                }
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
        let (certificate, key) = (self.text("tls.certificate"), self.text("tls.key"));
        ensure!(
            certificate.is_empty() == key.is_empty(),
            "tls.certificate and tls.key belong together: set both or neither"
        );
        ensure!(
            !certificate.is_empty() || self.text("tls.client_ca").is_empty(),
            "tls.client_ca is set, but no certificate to show: set tls.certificate and tls.key"
        );
        ensure!(
            !self.switch("tls.require_client_certificate") || !self.text("tls.client_ca").is_empty(),
            "tls.require_client_certificate is true, but nobody is believed: set tls.client_ca"
        );
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

    /// An address to listen on; other than loopback only with TLS, or where that was asked for.
    pub fn listen(&self, key: &str) -> anyhow::Result<SocketAddr> {
        let address: SocketAddr = self.text(key).parse().with_context(|| key.to_owned())?;
        if !address.ip().is_loopback() && !self.has_tls() {
            ensure!(
                self.switch("insecure"),
                "{key} is {address}: without TLS only loopback addresses are listened on. Set tls.certificate and tls.key \
                 (assent certs makes them), or say --insecure where the network itself is trusted"
            );
            tracing::warn!(%address, "INSECURE: listening beyond loopback without TLS; tokens and records are readable on the way");
        }
        Ok(address)
    }

    /// The same where it may be empty.
    pub fn listen_if_set(&self, key: &str) -> anyhow::Result<Option<SocketAddr>> {
        if self.text(key).is_empty() { Ok(None) } else { self.listen(key).map(Some) }
    }

    /// The file from which a password comes, if one does.
    #[must_use]
    pub fn file_with_password(&self) -> Option<&Path> {
        match self.0.get("base.url") {
            Some((url, Origin::File(path))) if url.contains('@') => Some(Path::new(path)),
            _ => None,
        }
    }

    /// Whether nobody has set it.
    #[must_use]
    pub fn is_default(&self, key: &str) -> bool {
        matches!(self.0.get(key), Some((_, Origin::Default)))
    }

    /// Whether servers speak TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        !self.text("tls.certificate").is_empty()
    }

    /// A file: what `config.toml` names and the default lie in the ledger's folder.
    #[must_use]
    pub fn path(&self, key: &str, dir: &Path) -> Option<PathBuf> {
        let (value, origin) = self.0.get(key)?;
        if value.is_empty() {
            return None;
        }
        Some(match origin {
            Origin::Default | Origin::File(_) => dir.join(value),
            Origin::Environment(_) | Origin::Flag(_) => PathBuf::from(value),
        })
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
            Address | MaybeAddress | Url | Form::Path | Keys | Name => format!("{value:?}"),
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
    fn defaults_are_those_of_the_library() {
        let default = |key| SETTINGS.iter().find(|setting| setting.key == key).unwrap().default;
        assert_eq!(default("sequencer.queue"), assent_sequencer::QUEUE_CAPACITY.to_string());
        assert_eq!(default("limit.account_rate"), assent_sequencer::ACCOUNT_RATE.to_string());
    }

    #[test]
    fn every_setting_has_a_valid_default_its_own_names_and_a_role() {
        let mut names = std::collections::BTreeSet::new();
        for setting in &SETTINGS {
            setting.check(setting.default).unwrap();
            assert!(!setting.roles.is_empty() && names.insert(setting.variable()), "{}", setting.key);
        }
        for role in [Role::Node, Role::Sequencer, Role::Prover, Role::Validator, Role::Mockchain, Role::All] {
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
