//! What a server shows and asks for, read again when its files change.
//!
//! Whoever owns a [`ServerTls`] calls [`ServerTls::reload_if_changed`] about once a second: a look at each file's modification time,
//! size and inode. What changed is read as a whole; new connections get it when all of it fits together, and until then what was
//! there before (a certificate and its key are seldom replaced in the same instant). Connections that stand are left alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};

use crate::any_client::AnyClient;
use crate::error::TlsError;
use crate::limits::SESSION_COUNT_MAX;
use crate::settings::{ClientAuth, Identity, Mode, Settings};
use crate::{pem, provider, self_signed};

/// What [`ServerTls::reload_if_changed`] came to.
#[derive(Debug)]
pub enum Reload {
    /// No file has changed, or those that have are known to be unusable.
    Unchanged,
    /// New connections get what the files say now.
    Reloaded,
    /// What the files say now cannot be used: what was there before stays.
    Unusable(TlsError),
}

/// See the module.
#[derive(Debug)]
pub struct ServerTls {
    mode: Mode,
    client_auth: ClientAuth,
    shows: Shows,
    trust: Option<PathBuf>,
    current: Mutex<Arc<ServerConfig>>,
    seen: Mutex<Vec<Stamp>>,
}

/// Where certificate and key come from.
#[derive(Debug)]
enum Shows {
    Files(Identity),
    /// Made for this process.
    Memory {
        path: PathBuf,
        text: Vec<u8>,
    },
}

/// What a change of a file changes; nothing when it is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

impl ServerTls {
    /// Reads what the settings name; nothing when TLS is disabled. Where no certificate is named, one is made for `names` and kept in
    /// the folder `home`, or in memory where there is none.
    ///
    /// # Errors
    /// When a file cannot be used, or the settings do not fit together.
    pub fn open(settings: &Settings, home: Option<&Path>, names: &[String]) -> Result<Option<Arc<Self>>, TlsError> {
        if settings.mode() == Mode::Disabled {
            return Ok(None);
        }
        let shows = match (settings.server_identity()?, home) {
            (Some(identity), _) => Shows::Files(identity),
            (None, Some(home)) => {
                let path = self_signed::open(home, names)?;
                Shows::Files(Identity { certificate: path.clone(), key: path, password: None })
            }
            (None, None) => {
                let (path, text) = self_signed::in_memory(names)?;
                Shows::Memory { path, text }
            }
        };
        let trust = settings.client_trust()?.map(Path::to_owned);
        let client_auth = settings.client_auth();
        if client_auth != ClientAuth::None && trust.is_none() {
            tracing::warn!("clients' certificates are not checked: name who signs them with tls.server.trustCertPath");
        }
        let seen = stamps(&shows, trust.as_deref());
        let current = Mutex::new(Arc::new(read(&shows, trust.as_deref(), client_auth)?));
        Ok(Some(Arc::new(Self { mode: settings.mode(), client_auth, shows, trust, current, seen: Mutex::new(seen) })))
    }

    /// Whether clients may still do without.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// For one new connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.current))
    }

    /// Looks at the files; see the module.
    pub fn reload_if_changed(&self) -> Reload {
        let now = stamps(&self.shows, self.trust.as_deref());
        let mut seen = lock(&self.seen);
        if *seen == now {
            return Reload::Unchanged;
        }
        // Stamps were taken before the reading: what changes meanwhile is seen the next time.
        *seen = now;
        match read(&self.shows, self.trust.as_deref(), self.client_auth) {
            Ok(config) => {
                *lock(&self.current) = Arc::new(config);
                Reload::Reloaded
            }
            Err(error) => Reload::Unusable(error),
        }
    }

    /// As [`Self::reload_if_changed`], said in the log.
    pub fn reload_and_tell(&self) {
        match self.reload_if_changed() {
            Reload::Unchanged => {}
            Reload::Reloaded => tracing::info!("changed certificates of TLS are in use for new connections"),
            Reload::Unusable(error) => {
                tracing::warn!(%error, "changed certificates of TLS cannot be used; what was there before stays in use");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamps(shows: &Shows, trust: Option<&Path>) -> Vec<Stamp> {
    let shown = match shows {
        Shows::Files(identity) => [Some(identity.certificate.as_path()), Some(identity.key.as_path())],
        Shows::Memory { .. } => [None, None],
    };
    let stamp = |path: &Path| {
        let data = fs::metadata(path).ok()?;
        Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
    };
    shown.into_iter().chain([trust]).map(|path| stamp(path?)).collect()
}

fn read(shows: &Shows, trust: Option<&Path>, client_auth: ClientAuth) -> Result<ServerConfig, TlsError> {
    let (path, chain, key) = match shows {
        Shows::Files(Identity { certificate, key, password }) => {
            let chain = pem::certificates(certificate, &pem::read(certificate)?)?;
            (certificate, chain, pem::private_key(key, &pem::read(key)?, password.as_ref())?)
        }
        Shows::Memory { path, text } => (path, pem::certificates(path, text)?, pem::private_key(path, text, None)?),
    };
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mandatory = client_auth == ClientAuth::Require;
    let builder = match (client_auth, trust) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (_, None) => builder.with_client_cert_verifier(Arc::new(AnyClient { provider, mandatory })),
        (_, Some(trust)) => {
            let roots = Arc::new(pem::roots(trust)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if mandatory { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| pem::unusable(trust, error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| pem::unusable(path, error))?;
    config.session_storage = ServerSessionMemoryCache::new(SESSION_COUNT_MAX);
    Ok(config)
}
