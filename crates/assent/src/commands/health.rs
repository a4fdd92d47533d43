//! `assent health`: what containers and service managers ask.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use assent_anchor::rpc::BitcoinRpc;
use assent_client::Dial;
use clap::{Args, ValueEnum};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    ledger_dir::LedgerDir,
    output::{self, Outcome},
    roles::{base_tls, own_credentials},
    settings::{self, Flags, Settings},
};

/// Whose health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Everything in one process
    Node,
    /// The sequencer
    Sequencer,
    /// The prover
    Prover,
    /// A validator
    Validator,
    /// The mock base chain
    Mockchain,
}

/// Arguments of `assent health`.
#[derive(Args)]
pub struct HealthArgs {
    /// Role that runs
    #[arg(value_enum)]
    part: Part,
    /// Its folder, whose settings and credentials are used
    dir: PathBuf,
    /// How long to wait for an answer, in seconds
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Where a role of this folder is reached from the same machine.
fn address(settings: &Settings, key: &str) -> anyhow::Result<String> {
    let mut address = settings.listen(key)?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Ok(address.to_string())
}

/// Runs it: exit code 0 where the role serves.
pub async fn run(args: HealthArgs) -> anyhow::Result<Outcome> {
    let timeout = Duration::from_secs(args.timeout);
    match tokio::time::timeout(timeout, check(&args)).await {
        Ok(result) => result?,
        Err(_) => bail!("no answer within {} s", args.timeout),
    }
    output::print_text("SERVING");
    Ok(Outcome::Done)
}

async fn check(args: &HealthArgs) -> anyhow::Result<()> {
    let dir = LedgerDir(args.dir.clone());
    let settings = Flags::<{ settings::Role::All as u8 }>::default().over(&dir.config_path())?;
    let scheme = if settings.has_tls() { "https" } else { "http" };
    let mut credentials = own_credentials(&dir.0, &settings)?;
    let (key, services): (_, &[&str]) = match args.part {
        Part::Mockchain => {
            let password = dir.mock_password()?.context("the folder has no keys/mockchain-password")?;
            let url = format!("{scheme}://assent:{password}@{}", address(&settings, "mockchain.listen")?);
            BitcoinRpc::with_tls(&url, &base_tls(&credentials))?.chain_info().await?;
            return Ok(());
        }
        Part::Node => ("sequencer.listen", &["assent.v1.SequencerService", "assent.v1.ProverService"]),
        Part::Sequencer => ("sequencer.listen", &["assent.v1.SequencerService"]),
        Part::Prover => ("prover.listen", &["assent.v1.ProverService"]),
        Part::Validator => ("validator.listen", &["assent.v1.ProverService"]),
    };
    // Without TLS, the token that the folder holds for its operator.
    let operator = dir.key_path("operator.token");
    if credentials.token.is_none() && operator.exists() {
        credentials.token = Some(crate::files::read_token(&operator)?);
    }
    let dial = Dial::new(format!("{scheme}://{}", address(&settings, key)?), credentials);
    let mut client = HealthClient::new(dial.channel(&dial.endpoint()?)?);
    for service in services {
        let answer = client.check(HealthCheckRequest { service: (*service).to_owned() }).await;
        let status = answer
            .map_err(|status| anyhow::anyhow!("{}: {}", dial.address, assent_client::describe(&status)))?
            .into_inner()
            .status;
        if status != ServingStatus::Serving as i32 {
            let name = ServingStatus::try_from(status).map_or("unknown", |status| status.as_str_name());
            bail!("{service} is {name}");
        }
    }
    Ok(())
}
