//! Certificates for what is shown on a network: one of the user's own making, or one that the user has.

#![forbid(unsafe_code)]

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use uuid::Uuid;

use super::{atomic_file, paths::Paths};
use crate::system_error::words;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// It could not be kept.
    #[error("{}: {}. Make room, or the folder writable", path.display(), words(source))]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read, or is none of that kind.
    #[error("{}: {source}. Name a PEM file that has it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The two do not belong together, or use algorithms that are not safe any more.
    #[error("{}: {source}. Name a certificate and its key", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The files of a certificate with its chain, and of its private key. Both are PEM (RFC 7468).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What viewers may have, to know this computer by.
    pub certificate: PathBuf,
    /// What only this user may have.
    pub key: PathBuf,
}

impl Certificate {
    /// The user's own for this computer, which is made when it is not there yet. It is signed by itself.
    pub fn own(paths: &Paths) -> Result<Self, CertificateError> {
        let folder = paths.data().join("tls");
        if !folder.exists() {
            make(paths, &folder)?;
        }
        Ok(Self { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") })
    }

    /// The SHA-256 of the certificate, as viewers show it: `AB:CD:…`.
    pub fn fingerprint(&self) -> Result<String, CertificateError> {
        let first = CertificateDer::from_pem_file(&self.certificate);
        let first = first.map_err(|source| CertificateError::Read { path: self.certificate.clone(), source })?;
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let hash = suite.tls13().map(|suite| suite.common.hash_provider.hash(&first));
        let bytes = hash.iter().flat_map(|hash| hash.as_ref());
        Ok(bytes.map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
    }

    /// What takes TLS connections with it: TLS 1.2 and 1.3, and no certificate is asked of the other side.
    pub fn acceptor(&self) -> Result<TlsAcceptor, CertificateError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Read { path, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(&self.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unreadable(&self.key))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let config = config.map_err(|source| CertificateError::Unusable { path: self.certificate.clone(), source })?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Makes the folder with a new certificate and its key, both at once.
fn make(paths: &Paths, folder: &Path) -> Result<(), CertificateError> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names = vec![host, "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let keep = || {
        let temporary = paths.data().join(format!(".tls-{}", Uuid::new_v4()));
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = [("certificate.pem", certificate.as_bytes()), ("key.pem", key.as_bytes())];
        atomic_file::create_folder(folder, &temporary, &files)
    };
    match keep() {
        // Another program was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        kept => kept.map_err(|source| CertificateError::Keep { path: folder.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn the_own_certificate_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        fs::create_dir(paths.data()).unwrap();

        let first = Certificate::own(&paths).unwrap();
        let key = fs::read(&first.key).unwrap();
        let second = Certificate::own(&paths).unwrap();

        assert_eq!(first, second);
        assert_eq!(fs::read(&second.key).unwrap(), key);
        assert_eq!(fs::metadata(&first.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(paths.data()).unwrap().count(), 1, "nothing else is left");
        first.acceptor().unwrap();
    }

    #[test]
    fn files_that_are_no_certificate_or_belong_to_another_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = |name: &str| {
            let paths = Paths::new(folder.path().join(name), folder.path().join("run"));
            fs::create_dir(paths.data()).unwrap();
            Certificate::own(&paths).unwrap()
        };
        let (one, other) = (own("one"), own("other"));

        let mixed = Certificate { key: other.key, ..one.clone() };
        let swapped = Certificate { certificate: one.key.clone(), key: one.certificate };
        let missing = Certificate { certificate: folder.path().join("none"), key: one.key };

        assert!(matches!(mixed.acceptor().err(), Some(CertificateError::Unusable { .. })));
        assert!(swapped.acceptor().is_err());
        assert!(matches!(missing.acceptor().err(), Some(CertificateError::Read { .. })));
    }
}
