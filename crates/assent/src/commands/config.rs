//! `assent config`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    ledger_dir::LedgerDir,
    output::{self, Outcome},
    settings::{Flags, Role, SETTINGS, shown},
};

/// Arguments of `assent config`.
#[derive(Args)]
pub struct ConfigArgs {
    /// Folder of the ledger, whose config.toml is read if it has one
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<{ Role::All as u8 }>,
}

/// Runs it.
pub fn run(args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let path = LedgerDir(args.dir.clone()).config_path();
    let settings = args.flags.over(&path)?;
    let rows = SETTINGS.iter().map(|setting| {
        let (value, origin) = settings.get(setting);
        (setting, shown(value), origin)
    });
    output::print(
        args.json,
        || {
            let from =
                if path.exists() { "is" } else { "does not exist, so defaults are shown; it would be" };
            let mut lines = vec![format!(
                "The file {from} {}. A variable overrides the file, a flag overrides both.",
                path.display()
            )];
            for (setting, value, origin) in rows.clone() {
                let value = if value.is_empty() { "\"\"" } else { &value };
                lines.push(format!("\n{} = {value}    (from {origin})", setting.key));
                lines.push(format!("    {}.", setting.meaning));
                let default = if setting.default.is_empty() { "\"\"" } else { setting.default };
                lines.push(format!(
                    "    {}; default {default}; {}, --{}",
                    setting.range(),
                    setting.variable(),
                    setting.flag(Role::All)
                ));
            }
            lines.join("\n")
        },
        || {
            let rows = rows.clone().map(|(setting, value, origin)| {
                json!({
                    "key": setting.key,
                    "value": value,
                    "origin": origin.to_string(),
                    "default": setting.default,
                    "meaning": setting.meaning,
                    "range": setting.range(),
                    "variable": setting.variable(),
                })
            });
            json!(rows.collect::<Vec<_>>())
        },
    );
    Ok(Outcome::Done)
}
