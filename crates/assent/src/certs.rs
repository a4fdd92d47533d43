//! Certificates for a stack: an authority of the operator's own, and what it vouches for.
//!
//! One authority for servers and clients. Each certificate is good for both, as provers and validators are both; what a client
//! may do stands in the access file, by the name in its certificate.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::files;

/// Days for which the authority is good: as long as anybody would run a ledger without looking.
const CA_DAYS: i64 = 3650;
/// How far before now certificates begin, so that a clock that is a little slow takes them.
const BACKDATE: time::Duration = time::Duration::minutes(5);

/// An authority in a folder: `ca.pem`, which everybody may have, and `ca.key`, which signs.
pub struct Authority {
    dir: PathBuf,
    pem: String,
    key: String,
}

fn validity(params: &mut CertificateParams, days: i64) {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE;
    params.not_after = now + time::Duration::days(days);
}

impl Authority {
    /// The authority of a folder; a new one where there is none.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        files::make_private_dir(dir)?;
        let (pem_path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !pem_path.exists() {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "Assent stack authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            validity(&mut params, CA_DAYS);
            let certificate = params.self_signed(&key)?;
            // The key first: a crash here leaves no certificate whose key is lost.
            let _ = fs::remove_file(&key_path);
            files::write_new(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
            files::write_whole(&pem_path, certificate.pem().as_bytes())?;
        }
        files::check_private(&key_path, dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            pem: files::read_text(&pem_path)?,
            key: files::read_text(&key_path)
                .context("the authority's key is needed to make certificates, and only then")?,
        })
    }

    /// Makes `NAME/cert.pem`, `NAME/key.pem` and `NAME/ca.pem` in the folder, unless they are there. Says whether it did.
    pub fn issue(&self, name: &str, hosts: &[String], days: u32) -> anyhow::Result<bool> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !name.is_empty() && name.len() <= 64 && name.chars().all(plain) && !name.starts_with('.'),
            "{name:?}: a name of letters, digits, dots, hyphens and underscores is expected"
        );
        let dir = self.dir.join(name);
        files::make_private_dir(&dir)?;
        let path = dir.join("cert.pem");
        if path.exists() {
            return Ok(false);
        }
        let issuer_key = KeyPair::from_pem(&self.key).context("the authority's key")?;
        let issuer =
            Issuer::from_ca_cert_pem(&self.pem, issuer_key).context("the authority's certificate")?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        // The name itself, by which the access file knows the client, and where a server is reached.
        for host in std::iter::once(name).chain(hosts.iter().map(String::as_str)) {
            let san = match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.try_into().with_context(|| format!("{host:?}"))?),
            };
            if !params.subject_alt_names.contains(&san) {
                params.subject_alt_names.push(san);
            }
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        validity(&mut params, days.into());
        let certificate = params.signed_by(&key, &issuer)?;
        let _ = fs::remove_file(dir.join("key.pem"));
        files::write_new(&dir.join("key.pem"), key.serialize_pem().as_bytes(), 0o600)?;
        files::write_whole(&dir.join("ca.pem"), self.pem.as_bytes())?;
        files::write_whole(&path, certificate.pem().as_bytes())?;
        Ok(true)
    }
}
