//! The certificate that the server shows, and its key: read at the start, and again on SIGHUP and when the files have changed. Connections that are
//! open keep what they began with. A pair that cannot be used is reported, and the one before it stays.
//!
//! The error texts quote nothing of the files: a key whose line ends were lost would be in them.

use crate::config::TlsConfig;
use crate::stamp::Stamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be used. The text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of the two files is not there, or is something else.
    #[error("cannot use {path} (setting {setting}): {reason}; it must be a PEM file with {content}")]
    File {
        /// The file.
        path: PathBuf,
        /// Which setting names it.
        setting: &'static str,
        /// What is wrong.
        reason: String,
        /// What belongs into it.
        content: &'static str,
    },
    /// The two do not belong together, or are of a kind that is not known.
    #[error("cannot use certificate {certificate} with key {key}: {error}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says, which quotes no key.
        error: rustls::Error,
    },
    /// The settings name only one file.
    #[error("{given} is set and {missing} is not; set both for TLS, or neither")]
    Half {
        /// The setting that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The process cannot be told to read the files again.
    #[error("cannot wait for SIGHUP: {0}")]
    Signal(#[from] std::io::Error),
}

/// What new connections are shown.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
}

/// Reads the files again when it is time.
#[derive(Debug)]
pub(crate) struct Renewal {
    certificates: Arc<Certificates>,
    every: Duration,
    seen: [Option<Stamp>; 2],
    hangup: Signal,
}

#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// Reads the pair that the configuration names. `None`: it names none. Called within a runtime.
    pub(crate) fn open(tls: &TlsConfig) -> Result<Option<(Arc<Self>, Renewal)>, CertificateError> {
        let Some(files) = Files::of(tls)? else { return Ok(None) };
        let hangup = signal(SignalKind::hangup())?;
        // Looked at first: what changes while they are read is seen the next time.
        let seen = files.stamps();
        let current = RwLock::new(files.load()?);
        let certificates = Arc::new(Self { files, current });
        let every = Duration::from_millis(tls.reload_ms);
        let renewal = Renewal { certificates: certificates.clone(), every, seen, hangup };
        Ok(Some((certificates, renewal)))
    }

    /// For one handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

impl Renewal {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let told = tokio::select! {
                _ = self.hangup.recv() => true,
                () = tokio::time::sleep(self.every) => false,
            };
            let files = self.certificates.files.clone();
            let seen = self.seen;
            // A disk that does not answer keeps nobody waiting.
            let read = tokio::task::spawn_blocking(move || {
                let stamps = files.stamps();
                (stamps, (told || stamps != seen).then(|| files.load()))
            });
            // An error means that the runtime ends.
            let Ok((stamps, loaded)) = read.await else { return };
            self.seen = stamps;
            let certificate = self.certificates.files.certificate.display();
            match loaded {
                Some(Ok(config)) => {
                    *self.certificates.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    tracing::info!(action = "tls.reload", %certificate, "new connections see the certificate that was read");
                }
                Some(Err(error)) => {
                    tracing::error!(action = "tls.error", %error, "the certificate before it stays in use");
                }
                None => {}
            }
        }
    }
}

impl Files {
    fn of(tls: &TlsConfig) -> Result<Option<Self>, CertificateError> {
        let half = |given, missing| Err(CertificateError::Half { given, missing });
        match (tls.certificate.clone(), tls.key.clone()) {
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate, key })),
            (None, None) => Ok(None),
            (Some(_), None) => half("tls.certificate", "tls.key"),
            (None, Some(_)) => half("tls.key", "tls.certificate"),
        }
    }

    fn load(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let in_certificate = |reason| CertificateError::File {
            path: self.certificate.clone(),
            setting: "tls.certificate",
            reason,
            content: "a certificate and those that lead to its root",
        };
        let in_key = |reason| CertificateError::File {
            path: self.key.clone(),
            setting: "tls.key",
            reason,
            content: "a private key without a password",
        };
        let read = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain: Vec<CertificateDer<'static>> = read.map_err(|error| in_certificate(words(&error)))?;
        if chain.is_empty() {
            return Err(in_certificate(words(&pem::Error::NoItemsFound)));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| in_key(words(&error)))?;
        serve_with(chain, key).map_err(|error| CertificateError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            error,
        })
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| Stamp::of(path))
    }
}

/// The configuration of sessions: TLS 1.2 and 1.3, HTTP/1.1 within.
fn serve_with(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        _ => "it is not valid PEM".to_owned(),
    }
}

/// Of the file itself, where the path is a link: what renews certificates often moves a link.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rustls::{ClientConfig, RootCertStore};

    /// Of a server that is called localhost, and its certificate.
    pub(crate) fn server_config() -> (Arc<ServerConfig>, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("a key");
        let certificate = made.cert.der().clone();
        (serve_with(vec![certificate.clone()], key).expect("a pair"), certificate)
    }

    /// Of a client that knows this certificate only.
    pub(crate) fn client_config(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.expect("versions").with_root_certificates(roots).with_no_client_auth())
    }

    #[test]
    fn what_cannot_be_used_is_told_without_a_word_of_the_key() {
        let folder = std::env::temp_dir().join(format!("concord-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (one, other) = (made(), made());
        let key = one.signing_key.serialize_pem();
        let flat = key.replace('\n', "");
        let (certificate, foreign) = (one.cert.pem(), other.signing_key.serialize_pem());
        let cases: &[(Option<&str>, Option<&str>, &str)] = &[
            (Some(&certificate), Some(&key), ""),
            (None, Some(&key), "cert.pem (setting tls.certificate): No such file"),
            (Some(&certificate), None, "key.pem (setting tls.key): No such file"),
            (Some(""), Some(&key), "tls.certificate): there is none in it; it must be a PEM file with a certificate"),
            (Some(&key), Some(&key), "tls.certificate): there is none"),
            (
                Some(&certificate),
                Some(&certificate),
                "tls.key): there is none in it; it must be a PEM file with a private",
            ),
            (Some(&certificate), Some(&flat), "tls.key): it is not valid PEM"),
            (Some(&certificate[..100]), Some(&key), "tls.certificate): it is not valid PEM"),
            (Some(&certificate), Some(&foreign), "KeyMismatch"),
        ];
        let files = Files { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        for (certificate, key, expected) in cases {
            for (path, content) in [(&files.certificate, certificate), (&files.key, key)] {
                let _not_there = std::fs::remove_file(path);
                content.map(|content| std::fs::write(path, content).expect("a file"));
            }
            match files.load() {
                Ok(_) => assert_eq!(*expected, ""),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!expected.is_empty() && text.contains(expected), "{expected}: {text}");
                    assert!(!text.contains("MI"), "{text}");
                }
            }
        }
        std::fs::remove_dir_all(&folder).expect("the folder");
    }

    #[test]
    fn both_files_or_none() {
        let tls = |certificate: Option<&str>, key: Option<&str>| TlsConfig {
            certificate: certificate.map(PathBuf::from),
            key: key.map(PathBuf::from),
            reload_ms: 1_000,
        };
        assert!(matches!(Files::of(&tls(None, None)), Ok(None)));
        assert!(matches!(Files::of(&tls(Some("c"), Some("k"))), Ok(Some(_))));
        for half in [tls(Some("c"), None), tls(None, Some("k"))] {
            assert!(Files::of(&half).expect_err("half").to_string().contains("set both for TLS"));
        }
    }
}
