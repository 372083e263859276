//! What an operator can choose, under RocketMQ's names.
//!
//! | name | value | meaning |
//! |---|---|---|
//! | `tls.server.mode` | `disabled`, `permissive` (default), `enforcing` | whether TLS is spoken, may be spoken, must be spoken |
//! | `tls.server.certPath`, `tls.server.keyPath` | PEM files | what the server shows; without: a certificate of its own making |
//! | `tls.server.keyPassword` | text | of an encrypted key (PKCS#8, PBES2) |
//! | `tls.server.need.client.auth` | `none` (default), `optional`, `require` | whether clients show a certificate |
//! | `tls.server.trustCertPath` | PEM file | who signs those |
//! | `tls.server.authClient` | boolean | whether that is checked |
//! | `tls.enable` | boolean | a broker speaks TLS to its name servers |
//! | `tls.client.certPath`, `.keyPath`, `.keyPassword`, `.trustCertPath`, `.authServer` | as above | what it shows and trusts there |
//! | `tls.test.mode.enable` | boolean | show a certificate of one's own making, trust any server |
//! | `tls.config.file` | properties file | any of these |
//!
//! Where RocketMQ's default leaves a door open that the other settings say is shut, ours is shut: test mode is on only where
//! no certificate is named (RocketMQ's is on until it is switched off, and then ignores the files), and `authClient` and `authServer`
//! are on where a `trustCertPath` is named. Who wants it otherwise says so, and is warned.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::client::{ClientTls, Trust};
use crate::error::TlsError;

/// Whether TLS is spoken on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never: a connection that begins it is closed.
    Disabled,
    /// As each client likes, told apart by the first byte.
    #[default]
    Permissive,
    /// Always: a connection that begins with anything else is closed.
    Enforcing,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They may; one that is shown must be good.
    Optional,
    /// They must.
    Require,
}

/// A certificate with its key, in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM: the certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
    /// Of the key, if it is encrypted.
    pub password: Option<Password>,
}

/// A word that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// One side's files, as far as they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Side {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    password: Option<Password>,
    trust: Option<PathBuf>,
    verify: Option<bool>,
}

/// All of them. The default is a server's on its first day: permissive, with a certificate of its own making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    mode: Mode,
    client_auth: ClientAuth,
    test_mode: Option<bool>,
    enable: bool,
    file: Option<PathBuf>,
    server: Side,
    client: Side,
}

/// The settings by RocketMQ's names, in the order in which they are best read.
pub const NAMES: [&str; 15] = [
    "tls.server.mode",
    "tls.server.certPath",
    "tls.server.keyPath",
    "tls.server.keyPassword",
    "tls.server.need.client.auth",
    "tls.server.trustCertPath",
    "tls.server.authClient",
    "tls.test.mode.enable",
    "tls.enable",
    "tls.client.certPath",
    "tls.client.keyPath",
    "tls.client.keyPassword",
    "tls.client.trustCertPath",
    "tls.client.authServer",
    "tls.config.file",
];

const MODES: [(&str, Mode); 3] =
    [("disabled", Mode::Disabled), ("permissive", Mode::Permissive), ("enforcing", Mode::Enforcing)];
const CLIENT_AUTHS: [(&str, ClientAuth); 3] =
    [("none", ClientAuth::None), ("optional", ClientAuth::Optional), ("require", ClientAuth::Require)];

impl Settings {
    /// Whether TLS is spoken.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether clients show a certificate.
    pub fn client_auth(&self) -> ClientAuth {
        self.client_auth
    }

    /// Chooses one value; an empty one takes the choice back.
    ///
    /// # Errors
    /// When the name is none of [`NAMES`], the value is not understood, or the file that it names is not.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), TlsError> {
        let path = || (!value.is_empty()).then(|| PathBuf::from(value));
        let password = || (!value.is_empty()).then(|| Password(value.to_owned()));
        match name {
            "tls.server.mode" => self.mode = choice(name, value, &MODES)?,
            "tls.server.certPath" => self.server.certificate = path(),
            "tls.server.keyPath" => self.server.key = path(),
            "tls.server.keyPassword" => self.server.password = password(),
            "tls.server.need.client.auth" => self.client_auth = choice(name, value, &CLIENT_AUTHS)?,
            "tls.server.trustCertPath" => self.server.trust = path(),
            "tls.server.authClient" => self.server.verify = maybe(name, value)?,
            "tls.test.mode.enable" => self.test_mode = maybe(name, value)?,
            "tls.enable" => self.enable = maybe(name, value)?.unwrap_or_default(),
            "tls.client.certPath" => self.client.certificate = path(),
            "tls.client.keyPath" => self.client.key = path(),
            "tls.client.keyPassword" => self.client.password = password(),
            "tls.client.trustCertPath" => self.client.trust = path(),
            "tls.client.authServer" => self.client.verify = maybe(name, value)?,
            "tls.config.file" => return self.read(path()),
            _ => return Err(TlsError::Settings(format!("{name} is not a setting of TLS"))),
        }
        Ok(())
    }

    /// A value as [`Self::set`] takes it, but for passwords, which are not shown.
    pub fn show(&self, name: &str) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string()).unwrap_or_default();
        let password =
            |password: &Option<Password>| password.as_ref().map(|word| format!("{word:?}")).unwrap_or_default();
        match name {
            "tls.server.mode" => name_of(self.mode, &MODES),
            "tls.server.certPath" => path(&self.server.certificate),
            "tls.server.keyPath" => path(&self.server.key),
            "tls.server.keyPassword" => password(&self.server.password),
            "tls.server.need.client.auth" => name_of(self.client_auth, &CLIENT_AUTHS),
            "tls.server.trustCertPath" => path(&self.server.trust),
            "tls.server.authClient" => flag(self.server.verify),
            "tls.test.mode.enable" => flag(self.test_mode),
            "tls.enable" => self.enable.to_string(),
            "tls.client.certPath" => path(&self.client.certificate),
            "tls.client.keyPath" => path(&self.client.key),
            "tls.client.keyPassword" => password(&self.client.password),
            "tls.client.trustCertPath" => path(&self.client.trust),
            "tls.client.authServer" => flag(self.client.verify),
            "tls.config.file" => path(&self.file),
            _ => String::new(),
        }
    }

    /// The file's settings win over those chosen before it. Lines that name nothing of [`NAMES`] are not for us.
    fn read(&mut self, path: Option<PathBuf>) -> Result<(), TlsError> {
        if let Some(path) = &path {
            let failed = |source| TlsError::File { path: path.clone(), source };
            let text = std::fs::read_to_string(path).map_err(failed)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
            for (name, value) in lines.filter_map(|line| line.split_once('=')) {
                let name = name.trim();
                if name != "tls.config.file" && NAMES.contains(&name) {
                    self.set(name, value.trim())?;
                }
            }
        }
        self.file = path;
        Ok(())
    }

    /// What the server shows; nothing when it makes its own.
    ///
    /// # Errors
    /// When only half of it is named, or none although test mode is off.
    pub fn server_identity(&self) -> Result<Option<Identity>, TlsError> {
        if self.test_mode == Some(true) {
            return Ok(None);
        }
        let identity = self.server.identity("tls.server")?;
        if identity.is_none() && self.test_mode == Some(false) && self.mode != Mode::Disabled {
            let sentence = "tls.test.mode.enable=false needs tls.server.certPath and tls.server.keyPath";
            return Err(TlsError::Settings(sentence.into()));
        }
        Ok(identity)
    }

    /// Who signs what clients show; nothing when that is not checked.
    ///
    /// # Errors
    /// When it is to be checked against nobody.
    pub fn client_trust(&self) -> Result<Option<&Path>, TlsError> {
        let trust = self.server.trust.as_deref();
        match self.server.verify {
            Some(false) => Ok(None),
            Some(true) if trust.is_none() && self.client_auth != ClientAuth::None => {
                let sentence = "tls.server.authClient=true needs tls.server.trustCertPath, a file with those who sign clients' certificates";
                Err(TlsError::Settings(sentence.into()))
            }
            _ => Ok(trust),
        }
    }

    /// How a broker speaks to its name servers; nothing for: without TLS.
    ///
    /// # Errors
    /// As for the server's part.
    pub fn outgoing(&self) -> Result<Option<ClientTls>, TlsError> {
        if !self.enable {
            return Ok(None);
        }
        let trust = match (self.test_mode, self.client.verify, &self.client.trust) {
            (Some(true), ..) | (_, Some(false), _) | (_, None, None) => Trust::Anyone,
            // As RocketMQ does it: servers are told by addresses that are seldom in their certificates.
            (_, _, Some(roots)) => Trust::SignedBy(roots.clone()),
            (_, Some(true), None) => {
                let sentence = "tls.client.authServer=true needs tls.client.trustCertPath, a file with those who sign servers' certificates";
                return Err(TlsError::Settings(sentence.into()));
            }
        };
        Ok(Some(ClientTls { trust, identity: self.client.identity("tls.client")? }))
    }
}

impl Side {
    fn identity(&self, prefix: &str) -> Result<Option<Identity>, TlsError> {
        match (&self.certificate, &self.key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (certificate.clone(), key.clone());
                Ok(Some(Identity { certificate, key, password: self.password.clone() }))
            }
            _ => Err(TlsError::Settings(format!("{prefix}.certPath and {prefix}.keyPath go together: one is missing"))),
        }
    }
}

fn choice<T: Copy + Default>(name: &str, value: &str, choices: &[(&str, T)]) -> Result<T, TlsError> {
    if value.is_empty() {
        return Ok(T::default());
    }
    let found = choices.iter().find(|(text, _)| text.eq_ignore_ascii_case(value));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(text, _)| *text).collect();
        TlsError::Settings(format!("{name}: {value:?} is none of {}", names.join(", ")))
    })
}

fn name_of<T: PartialEq>(value: T, choices: &[(&str, T)]) -> String {
    choices.iter().find(|(_, other)| *other == value).map_or_else(String::new, |(text, _)| (*text).to_owned())
}

fn maybe(name: &str, value: &str) -> Result<Option<bool>, TlsError> {
    match value {
        "" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(TlsError::Settings(format!("{name}: {value:?} is neither true nor false"))),
    }
}
