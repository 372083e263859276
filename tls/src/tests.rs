use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkcs8::der::pem::{LineEnding, PemLabel};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;

use crate::settings::NAMES;
use crate::{
    ClientSession, ClientTls, Identity, Progress, Reload, ServerSession, ServerTls, Settings, TlsError, Trust,
};

/// A folder with those who sign, and what they have signed.
struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs itself");
        let directory = tempfile::tempdir().expect("a folder");
        fs::write(directory.path().join("ca.crt"), issuer.pem()).expect("writes");
        Self { directory, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate for `host`, with its key.
    fn issue(&self, name: &str, host: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([host.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        let paths = [self.path(&format!("{name}.crt")), self.path(&format!("{name}.key"))];
        fs::write(&paths[0], certificate.pem()).expect("writes");
        fs::write(&paths[1], key.serialize_pem()).expect("writes");
        let [certificate, key] = paths;
        Identity { certificate, key, password: None }
    }

    fn settings(&self, identity: &Identity, more: &[(&str, &str)]) -> Settings {
        let (certificate, key) = (shown(&identity.certificate), shown(&identity.key));
        settings(&[&[("tls.server.certPath", &*certificate), ("tls.server.keyPath", &*key)], more].concat())
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn settings(choices: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in choices {
        settings.set(name, value).expect("understood");
    }
    settings
}

fn open(settings: &Settings) -> Arc<ServerTls> {
    ServerTls::open(settings, None, &["127.0.0.1".into()]).expect("usable").expect("not disabled")
}

/// Both ends, and what is on its way between them.
struct Pair {
    server: ServerSession,
    client: ClientSession,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    server_heard: Vec<u8>,
    client_heard: Vec<u8>,
}

impl Pair {
    fn new(config: Arc<ServerConfig>, client: &ClientTls) -> Self {
        let mut to_server = Vec::new();
        let client =
            ClientSession::client(client.config().expect("usable"), "127.0.0.1", &mut to_server).expect("an address");
        let server = ServerSession::server(config).expect("usable");
        Self { server, client, to_server, to_client: Vec::new(), server_heard: Vec::new(), client_heard: Vec::new() }
    }

    /// Carries bytes in pieces until none are on their way. As a socket would, with what was kept before them.
    fn exchange(&mut self, piece_bytes: usize) -> Result<(), TlsError> {
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            for piece in std::mem::take(&mut self.to_server).chunks(piece_bytes) {
                let mut bytes = [self.server.kept(), piece].concat();
                self.server.receive(&mut bytes, &mut self.server_heard, &mut self.to_client)?;
            }
            for piece in std::mem::take(&mut self.to_client).chunks(piece_bytes) {
                let mut bytes = [self.client.kept(), piece].concat();
                self.client.receive(&mut bytes, &mut self.client_heard, &mut self.to_server)?;
            }
        }
        Ok(())
    }
}

fn shake_hands(server: &ServerTls, client: &ClientTls) -> Result<(), TlsError> {
    let mut pair = Pair::new(server.config(), client);
    pair.exchange(usize::MAX)?;
    assert_eq!((pair.server.progress(), pair.client.progress()), (Progress::Established, Progress::Established));
    Ok(())
}

#[test]
fn what_one_end_says_the_other_hears_however_the_bytes_are_cut() {
    let server = open(&Settings::default());
    let long: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    for piece_bytes in [1, 7, 1000, 16_384, usize::MAX] {
        let mut pair = Pair::new(server.config(), &ClientTls::default());
        pair.exchange(piece_bytes).expect("shake hands");
        for said in [&b"a"[..], &long] {
            pair.client.seal(said, &mut pair.to_server).expect("established");
            pair.server.seal(said, &mut pair.to_client).expect("established");
            assert!(!pair.to_server.windows(20).any(|window| said.starts_with(window)), "nothing is said in the open");
            pair.exchange(piece_bytes).expect("whole records");
            assert!(std::mem::take(&mut pair.server_heard) == said && std::mem::take(&mut pair.client_heard) == said);
            assert!(pair.server.kept().is_empty() && pair.client.kept().is_empty());
        }
        pair.client.close(&mut pair.to_server);
        pair.exchange(piece_bytes).expect("an orderly end");
        assert_eq!(pair.server.progress(), Progress::Closed);
    }
}

#[test]
fn nothing_can_be_said_before_the_handshake_is_over() {
    let mut session = ServerSession::server(open(&Settings::default()).config()).expect("usable");
    let mut out = Vec::new();
    assert!(matches!(session.seal(b"early", &mut out), Err(TlsError::NotEstablished)));
    session.close(&mut out);
    assert!(out.is_empty());
}

#[test]
fn garbage_is_refused_with_an_alert_and_one_sentence() {
    let long_handshake = [&b"\x16\x03\x01\x40\x00\x01\x00\xff\xff"[..], &[0; 0x3ffc]].concat();
    for garbage in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16\xff\xff\xff\xff\xff", &long_handshake.repeat(9)] {
        let mut session = ServerSession::server(open(&Settings::default()).config()).expect("usable");
        let mut bytes = garbage.to_vec();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let error = session.receive(&mut bytes, &mut plain, &mut out).expect_err("refused");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
        assert!(plain.is_empty() && session.kept().len() <= crate::limits::KEPT_BYTES_MAX);
    }
    let mut session = ServerSession::server(open(&Settings::default()).config()).expect("usable");
    let mut out = Vec::new();
    session
        .receive(&mut b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec(), &mut Vec::new(), &mut out)
        .expect_err("refused");
    assert_eq!(out.first(), Some(&0x15), "the client is told by an alert");
}

#[test]
fn a_client_trusts_whom_it_was_told_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = open(&authority.settings(&authority.issue("server", "127.0.0.1"), &[]));
    let elsewhere = open(&authority.settings(&authority.issue("elsewhere", "192.0.2.1"), &[]));
    let client = |trust| ClientTls { trust, identity: None };
    let (ours, theirs) = (authority.path("ca.crt"), other.path("ca.crt"));
    for (server, trust, accepted) in [
        (&server, Trust::Named(ours.clone()), true),
        (&server, Trust::SignedBy(ours.clone()), true),
        (&server, Trust::Anyone, true),
        (&server, Trust::Named(theirs.clone()), false),
        (&server, Trust::SignedBy(theirs), false),
        (&elsewhere, Trust::Named(ours.clone()), false),
        (&elsewhere, Trust::SignedBy(ours), true),
    ] {
        let sentence = format!("{trust:?}");
        assert_eq!(shake_hands(server, &client(trust)).is_ok(), accepted, "{sentence}");
    }
}

#[test]
fn a_client_is_trusted_as_the_settings_say() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (shown_by_server, trust) = (authority.issue("server", "127.0.0.1"), shown(&authority.path("ca.crt")));
    let client = |identity| ClientTls { trust: Trust::Anyone, identity };
    let (nothing, good, bad) = (None, Some(authority.issue("good", "a")), Some(other.issue("bad", "b")));
    let ask = "tls.server.need.client.auth";
    let trusted = ("tls.server.trustCertPath", &*trust);
    for (settings, accepted) in [
        (&[(ask, "none"), trusted][..], [true, true, true]),
        (&[(ask, "optional"), trusted], [true, true, false]),
        (&[(ask, "require"), trusted], [false, true, false]),
        (&[(ask, "require"), trusted, ("tls.server.authClient", "false")], [false, true, true]),
        (&[(ask, "require")], [false, true, true]),
    ] {
        let server = open(&authority.settings(&shown_by_server, settings));
        let got = [&nothing, &good, &bad].map(|identity| shake_hands(&server, &client(identity.clone())).is_ok());
        assert_eq!(got, accepted, "{settings:?}");
    }
}

#[test]
fn changed_files_are_used_once_they_fit_together() {
    let authority = Authority::new();
    let identity = authority.issue("server", "127.0.0.1");
    let server = open(&authority.settings(&identity, &[]));
    let named = ClientTls { trust: Trust::Named(authority.path("ca.crt")), identity: None };
    assert!(matches!(server.reload_if_changed(), Reload::Unchanged));
    let next = authority.issue("next", "192.0.2.1");
    fs::rename(&next.certificate, &identity.certificate).expect("renames");
    assert!(
        matches!(server.reload_if_changed(), Reload::Unusable(TlsError::Content { .. })),
        "another key's certificate"
    );
    assert!(matches!(server.reload_if_changed(), Reload::Unchanged), "said once");
    shake_hands(&server, &named).expect("the old pair stays in use");
    fs::rename(&next.key, &identity.key).expect("renames");
    assert!(matches!(server.reload_if_changed(), Reload::Reloaded));
    shake_hands(&server, &named).expect_err("the new certificate is for another address");
    fs::remove_file(&identity.certificate).expect("removes");
    assert!(matches!(server.reload_if_changed(), Reload::Unusable(TlsError::File { .. })));
    shake_hands(&server, &ClientTls::default()).expect("a file that is gone changes nothing");
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let authority = Authority::new();
    let identity = authority.issue("server", "127.0.0.1");
    let der = KeyPair::from_pem(&fs::read_to_string(&identity.key).expect("reads")).expect("a key").serialize_der();
    let scrypt = pkcs8::pkcs5::scrypt::Params::new(4, 8, 1, 32).expect("small");
    let pbes2 = pkcs8::pkcs5::pbes2::Parameters::scrypt_aes256cbc(scrypt, b"salt salt", &[7; 16]).expect("parameters");
    let plain = pkcs8::PrivateKeyInfo::try_from(&*der).expect("pkcs8");
    let encrypted = plain.encrypt_with_params(pbes2, "open sesame").expect("encrypts");
    let pem = encrypted.to_pem(pkcs8::EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF).expect("text");
    fs::write(&identity.key, pem.as_bytes()).expect("writes");
    let with = |password: &str| authority.settings(&identity, &[("tls.server.keyPassword", password)]);
    shake_hands(&open(&with("open sesame")), &ClientTls::default()).expect("the right password");
    for (password, said) in [("", "give its password"), ("wrong", "not the key's")] {
        let error = ServerTls::open(&with(password), None, &[]).expect_err("refused").to_string();
        assert!(error.contains(said) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn what_cannot_work_is_refused_in_one_sentence() {
    let directory = tempfile::tempdir().expect("a folder");
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "nothing").expect("writes");
    let (empty, missing) = (shown(&empty), shown(&directory.path().join("missing.pem")));
    for choices in [
        &[("tls.server.certPath", &*empty)][..],
        &[("tls.server.certPath", &empty), ("tls.server.keyPath", &empty)],
        &[("tls.server.certPath", &missing), ("tls.server.keyPath", &missing)],
        &[("tls.test.mode.enable", "false")],
        &[("tls.server.need.client.auth", "require"), ("tls.server.authClient", "true")],
        &[("tls.server.need.client.auth", "require"), ("tls.server.trustCertPath", &empty)],
    ] {
        let error = ServerTls::open(&settings(choices), None, &[]).expect_err("refused").to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    for (name, value) in [("tls.server.mode", "on"), ("tls.server.authClient", "yes"), ("tls.none", "1")] {
        let error = Settings::default().set(name, value).expect_err("refused").to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(ServerTls::open(&settings(&[("tls.server.mode", "disabled")]), None, &[]).expect("fine").is_none());
}

#[test]
fn settings_show_what_was_set_but_for_passwords() {
    let directory = tempfile::tempdir().expect("a folder");
    let file = directory.path().join("tls.properties");
    fs::write(&file, "# x\ntls.server.mode = enforcing\nother=1\ntls.server.keyPassword=secret\n").expect("writes");
    let mut settings = settings(&[("tls.server.authClient", "true"), ("tls.config.file", &shown(&file))]);
    assert_eq!(settings.show("tls.server.mode"), "enforcing");
    assert_eq!(settings.show("tls.server.authClient"), "true");
    assert!(!format!("{settings:?}{}", settings.show("tls.server.keyPassword")).contains("secret"));
    let mut copy = Settings::default();
    for name in NAMES.into_iter().filter(|name| *name != "tls.server.keyPassword") {
        copy.set(name, &settings.show(name)).expect("what is shown is understood");
    }
    settings.set("tls.server.keyPassword", "").expect("taken back");
    copy.set("tls.server.keyPassword", "").expect("taken back");
    assert_eq!(settings, copy);
}

#[test]
fn a_broker_trusts_its_name_servers_as_rocketmq_does_unless_told_whom() {
    let outgoing = |choices: &[(&str, &str)]| settings(choices).outgoing().map(|tls| tls.map(|tls| tls.trust));
    let roots = ("tls.client.trustCertPath", "/ca.crt");
    let on = ("tls.enable", "true");
    assert_eq!(outgoing(&[roots]).expect("fine"), None);
    assert_eq!(outgoing(&[on]).expect("fine"), Some(Trust::Anyone));
    assert_eq!(outgoing(&[on, roots]).expect("fine"), Some(Trust::SignedBy("/ca.crt".into())));
    assert_eq!(outgoing(&[on, roots, ("tls.client.authServer", "false")]).expect("fine"), Some(Trust::Anyone));
    assert!(outgoing(&[on, ("tls.client.authServer", "true")]).is_err());
}

#[test]
fn answers_go_out_while_half_a_message_of_the_handshake_is_kept() {
    let mut pair = Pair::new(open(&Settings::default()).config(), &ClientTls::default());
    pair.exchange(usize::MAX).expect("shake hands");
    // A record whose second half never comes, behind which the server still answers.
    pair.client.seal(b"never whole", &mut pair.to_server).expect("established");
    pair.to_server.truncate(10);
    pair.exchange(usize::MAX).expect("waits for the rest");
    assert_eq!(pair.server.kept().len(), 10);
    pair.server.seal(b"answer", &mut pair.to_client).expect("established");
    pair.exchange(usize::MAX).expect("whole");
    assert_eq!(pair.client_heard, b"answer");
}
