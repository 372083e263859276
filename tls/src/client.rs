//! Whom a client trusts, and what it shows.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::error::TlsError;
use crate::settings::Identity;
use crate::{pem, provider};

/// Which servers are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Every one. What is said is hidden from who listens, not from who stands between: for tests.
    #[default]
    Anyone,
    /// Whoever a certificate of this PEM file has signed, under any name: RocketMQ's `authServer`.
    SignedBy(PathBuf),
    /// Whoever a certificate of this PEM file has signed for the name or address that was dialled.
    Named(PathBuf),
}

/// A client's choices. The default trusts anyone and shows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Which servers are trusted.
    pub trust: Trust,
    /// What is shown to a server that asks for a certificate.
    pub identity: Option<Identity>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &self.trust {
            Trust::Named(path) => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(pem::roots(path)?), provider).build();
                builder.with_webpki_verifier(verifier.map_err(|error| pem::unusable(path, error))?)
            }
            Trust::SignedBy(path) => {
                let roots = Some(pem::roots(path)?);
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName { roots, provider }))
            }
            Trust::Anyone => {
                let verifier = AnyName { roots: None, provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key, password }) => {
                let chain = pem::certificates(certificate, &pem::read(certificate)?)?;
                let private = pem::private_key(key, &pem::read(key)?, password.as_ref())?;
                builder.with_client_auth_cert(chain, private).map_err(|error| pem::unusable(certificate, error))?
            }
        };
        Ok(Arc::new(config))
    }
}

/// Looks at who has signed (if at that), and never at the name.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let algorithms = self.provider.signature_verification_algorithms.all;
            let parsed = ParsedCertificate::try_from(certificate)?;
            rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
