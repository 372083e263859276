//! Certificates and keys from PEM files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pkcs8::der::SecretDocument;
use pkcs8::der::pem::PemLabel;
use pkcs8::{EncryptedPrivateKeyInfo, pkcs5};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::TlsError;
use crate::limits::FILE_SIZE_BYTES_MAX;
use crate::settings::Password;

/// A file's bytes, if they are not too many.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source: io::Error| TlsError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(FILE_SIZE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_SIZE_BYTES_MAX {
        return Err(unusable(path, format!("is longer than {FILE_SIZE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn unusable(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Content { path: path.to_owned(), reason: reason.to_string() }
}

/// All certificates of a text, at least one.
pub(crate) fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, pem::Error>>()
        .map_err(|error| unusable(path, error))?;
    if all.is_empty() {
        return Err(unusable(path, "holds no certificate (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(all)
}

/// The first private key of a text.
pub(crate) fn private_key(
    path: &Path,
    text: &[u8],
    password: Option<&Password>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    if let Some(encrypted) = encrypted_block(text) {
        return decrypt(path, encrypted, password);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => unusable(path, "holds no private key (-----BEGIN PRIVATE KEY-----)"),
        other => unusable(path, other),
    })
}

/// The part of a text that is an encrypted key.
fn encrypted_block(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let label = EncryptedPrivateKeyInfo::PEM_LABEL;
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let last = format!("-----END {label}-----");
    let end = start + text[start..].find(&last)? + last.len();
    Some(&text[start..end])
}

fn decrypt(path: &Path, block: &str, password: Option<&Password>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let Some(password) = password else {
        return Err(unusable(path, "the key is encrypted: give its password (tls.server.keyPassword)"));
    };
    let (_, document) = SecretDocument::from_pem(block).map_err(|error| unusable(path, error))?;
    let foreign = "is encrypted in a way that is not read here: `openssl pkcs8 -topk8 -v2 aes256` makes one that is";
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| unusable(path, foreign))?;
    let key = info.decrypt(&password.0).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::NoPbes1CryptSupport
            | pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::AlgorithmParametersInvalid { .. },
        ) => unusable(path, foreign),
        // With a wrong password, what comes out is padded wrongly, or is no key.
        _ => unusable(path, "the password is not the key's"),
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// Whom to trust.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, &read(path)?)? {
        roots.add(certificate).map_err(|error| unusable(path, error))?;
    }
    Ok(roots)
}
