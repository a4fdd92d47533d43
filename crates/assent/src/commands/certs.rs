//! `assent certs`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    apart::{CLIENTS, ROLES, hosts_of},
    certs::Authority,
    output::{self, Outcome},
};

/// Arguments of `assent certs`.
#[derive(Args)]
pub struct CertsArgs {
    /// Folder of the certificates. Made where there is none; what is there already is left as it is
    dir: PathBuf,
    /// Make a certificate for this client too (may be given more than once)
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,
    /// Name or address under which servers are reached, beside their own names, localhost and 127.0.0.1 (may be given more
    /// than once)
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Days for which the certificates are good
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &CertsArgs) -> anyhow::Result<Outcome> {
    let authority = Authority::open(&args.dir)?;
    let mut made = Vec::new();
    for role in ROLES {
        if authority.issue(role, &hosts_of(role, &args.hosts), args.days)? {
            made.push(role.to_owned());
        }
    }
    for client in CLIENTS.iter().map(|(name, _)| (*name).to_owned()).chain(args.clients.clone()) {
        if authority.issue(&client, &[], args.days)? {
            made.push(client);
        }
    }
    let dir = args.dir.display().to_string();
    output::print(
        args.json,
        || {
            let list =
                if made.is_empty() { "nothing: all of them are there".to_owned() } else { made.join(", ") };
            format!(
                "Made certificates in {dir}: {list}\n  Each has a folder with cert.pem, key.pem and ca.pem.\n  \
                 {dir}/ca.key makes more of them: keep it away from the machines that serve.\n\n\
                 A role:    assent sequencer LEDGER --tls-certificate {dir}/sequencer/cert.pem \\\n             \
                 --tls-key {dir}/sequencer/key.pem --tls-client-ca {dir}/ca.pem --tls-ca {dir}/ca.pem\n\
                 A client:  assent clients add LEDGER gateway --role submit --certificate gateway\n             \
                 assent account open … --ca {dir}/ca.pem --cert {dir}/gateway/cert.pem --cert-key {dir}/gateway/key.pem"
            )
        },
        || json!({"dir": dir, "made": made}),
    );
    Ok(Outcome::Done)
}
