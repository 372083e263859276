//! A certificate of the server's own making, for the first day: it hides what is said, and proves nothing.
//!
//! ```text
//! HOME/self-signed.pem   certificate and key, mode 0600: what is read again at the next start
//! HOME/self-signed.crt   the certificate alone, for clients that want to trust exactly this one
//! ```
//! Both are written beside their place and renamed into it, the one with the key last: a crash leaves the old pair or none, and
//! none is made anew.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::error::TlsError;

/// Certificate and key as one PEM text.
pub(crate) fn make(names: &[String]) -> Result<(String, String), TlsError> {
    let failed = |error: rcgen::Error| TlsError::Settings(format!("a certificate cannot be made: {error}"));
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "RingMQ, self-signed");
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The pair in `home`, made when it is not there.
pub(crate) fn open(home: &Path, names: &[String]) -> Result<PathBuf, TlsError> {
    let path = home.join("self-signed.pem");
    if path.try_exists().map_err(|source| TlsError::File { path: path.clone(), source })? {
        return Ok(path);
    }
    let (certificate, key) = make(names)?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(home)?;
        write_whole(&home.join("self-signed.crt"), certificate.as_bytes(), 0o644)?;
        write_whole(&path, format!("{certificate}{key}").as_bytes(), 0o600)
    };
    write().map_err(|source| TlsError::File { path: path.clone(), source })?;
    tracing::info!(certificate = %home.join("self-signed.crt").display(), "made a certificate for TLS");
    Ok(path)
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// A fresh pair that is nowhere kept.
pub(crate) fn in_memory(names: &[String]) -> Result<(PathBuf, Vec<u8>), TlsError> {
    let (certificate, key) = make(names)?;
    Ok((PathBuf::from("self-signed"), format!("{certificate}{key}").into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pem;

    #[test]
    fn pair_is_made_once_and_its_key_is_nobody_elses() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path().join("tls");
        let path = open(&home, &["localhost".into(), "127.0.0.1".into()]).expect("made");
        let first = pem::read(&path).expect("reads");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let public = fs::read(home.join("self-signed.crt")).expect("reads");
        assert!(first.starts_with(&public) && !String::from_utf8_lossy(&public).contains("PRIVATE"));
        assert_eq!(open(&home, &[]).expect("there"), path);
        assert_eq!(pem::read(&path).expect("reads"), first, "not made again");
    }
}
