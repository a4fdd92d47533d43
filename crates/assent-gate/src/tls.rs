//! TLS 1.3, by rustls: what this process shows, and whose certificates it believes.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use thiserror::Error;
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain that this process shows, in PEM, its own certificate first.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authorities whose client certificates are believed, in PEM.
    pub client_ca: Option<PathBuf>,
    /// Whether a connection without a client certificate is refused; otherwise such a client needs a token or a signed query.
    pub require_client_certificate: bool,
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The parts do not belong together.
    #[error("the certificate {certificate} and the key {key} cannot be used together: {problem}")]
    Pair {
        /// Certificate.
        certificate: PathBuf,
        /// Key.
        key: PathBuf,
        /// Why.
        problem: String,
    },
    /// Client certificates are required, and nobody is believed.
    #[error("client certificates are required, but no authority for them is given (tls.client_ca)")]
    NoAuthority,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wrong(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> TlsError {
    let path = path.to_owned();
    move |problem| TlsError::File { path: path.clone(), problem: problem.to_string() }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = wrong(path);
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    if certificates.is_empty() {
        return Err(wrong(&"it holds no certificate in PEM"));
    }
    Ok(certificates)
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = wrong(path);
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Ok(roots)
}

fn server_config(files: &TlsFiles, alpn: &[&[u8]]) -> Result<(ServerConfig, i64), TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| wrong(&files.certificate)(&error))?;
    let builder = match &files.client_ca {
        None if files.require_client_certificate => return Err(TlsError::NoAuthority),
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(read_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = match files.require_client_certificate {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(path)(&error))?)
        }
    };
    let certificates = read_certificates(&files.certificate)?;
    let expiry = certificates.first().map_or(0, expiry_of);
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key)(&error))?;
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        problem: error.to_string(),
    })?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok((config, expiry))
}

/// When a certificate expires, in seconds since 1970; 0 where it cannot be read.
fn expiry_of(certificate: &CertificateDer<'_>) -> i64 {
    x509_parser::parse_x509_certificate(certificate)
        .map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp())
}

/// Names in a client certificate: DNS names and URIs of its subject alternative names (RFC 5280 §4.2.1.6). The subject's own
/// name is not looked at.
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// What a server shows. The files are read again when they change; one that cannot be read leaves what was there.
#[derive(Clone)]
pub struct ServerTls {
    files: TlsFiles,
    alpn: &'static [&'static [u8]],
    current: Arc<RwLock<(Arc<ServerConfig>, i64)>>,
}

impl ServerTls {
    /// Of a gRPC server.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn grpc(files: TlsFiles) -> Result<Self, TlsError> {
        Self::new(files, &[b"h2"])
    }

    /// Of an HTTP/1.1 server.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn http1(files: TlsFiles) -> Result<Self, TlsError> {
        Self::new(files, &[b"http/1.1"])
    }

    fn new(files: TlsFiles, alpn: &'static [&'static [u8]]) -> Result<Self, TlsError> {
        let (config, expiry) = server_config(&files, alpn)?;
        let current = Arc::new(RwLock::new((Arc::new(config), expiry)));
        Ok(Self { files, alpn, current })
    }

    /// As it is now.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// When the certificate expires, in seconds since 1970.
    #[must_use]
    pub fn expiry(&self) -> i64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The files to watch.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.files.certificate.clone(), self.files.key.clone()];
        files.extend(self.files.client_ca.clone());
        files
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`TlsError`]; then what was there stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let (config, expiry) = server_config(&self.files, self.alpn)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(config), expiry);
        Ok(())
    }
}
