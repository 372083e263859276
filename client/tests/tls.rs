//! The client against a name server and a broker that speak nothing but TLS, and ask for certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ringmq_broker::server::Embedded;
use ringmq_broker::server::config::Config;
use ringmq_client::admin::NewTopic;
use ringmq_client::producer::Dialect;
use ringmq_client::{
    Admin, ClientTls, ConsumedInOrder, Error, ErrorKind, Filter, Identity, Listener, OutgoingMessage, Producer,
    ProducerConfig, PullConsumer, PullConsumerConfig, PushConsumer, PushConsumerConfig, Start, Trust,
};
use ringmq_tls::Settings;

/// A name server and a broker that enforce TLS; clients have to show what the name server made for itself.
struct World {
    names: ringmq_namesrv::Handle,
    broker: Option<Embedded>,
    directory: tempfile::TempDir,
}

fn settings(choices: &[(&str, &Path)]) -> Settings {
    let mut settings = Settings::default();
    settings.set("tls.server.mode", "enforcing").expect("a mode");
    for (name, value) in choices {
        settings.set(name, &value.display().to_string()).expect("understood");
    }
    settings
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path().join("names");
        let config = ringmq_namesrv::Config {
            tls: settings(&[]),
            tls_home: Some(home.clone()),
            ..ringmq_namesrv::Config::default()
        };
        let names = ringmq_namesrv::spawn_thread(config).expect("a name server");
        let (pair, roots) = (home.join("self-signed.pem"), home.join("self-signed.crt"));
        let config = Config {
            namesrv: vec![names.addr.to_string()],
            listen: ([127, 0, 0, 1], 0).into(),
            data: directory.path().join("broker"),
            segment_size_bytes: 32 << 20,
            hot_tail_bytes: 16 << 20,
            tls: settings(&[
                ("tls.server.certPath", &pair),
                ("tls.server.keyPath", &pair),
                ("tls.server.need.client.auth", Path::new("require")),
                // Anyone's that has a key: what made the pair is no authority.
                ("tls.server.authClient", Path::new("false")),
                ("tls.enable", Path::new("true")),
                ("tls.client.trustCertPath", &roots),
            ]),
            ..Config::default()
        };
        let broker = tokio::task::spawn_blocking(move || Embedded::start(&config)).await.expect("no panic");
        Self { names, broker: Some(broker.expect("starts")), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("names").join(name)
    }

    fn tls(&self) -> ClientTls {
        let pair = self.path("self-signed.pem");
        let identity = Some(Identity { certificate: pair.clone(), key: pair, password: None });
        ClientTls { trust: Trust::Named(self.path("self-signed.crt")), identity }
    }

    fn producer(&self, tls: Option<ClientTls>, dialect: Dialect) -> Producer {
        let name_servers = self.names.addr.to_string();
        let send_timeout = Duration::from_secs(10);
        // What is long is to be long on its way, too.
        let compression = None;
        let config =
            ProducerConfig { name_servers, tls, dialect, send_timeout, compression, ..ProducerConfig::default() };
        Producer::start(config).expect("usable")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_through_tls_in_both_dialects() {
    let world = World::new().await;
    let name_servers = world.names.addr.to_string();
    let admin = Admin::start_with(&name_servers, Some(&world.tls())).expect("usable");
    let masters = admin.masters(None).await.expect("answered");
    let topic = NewTopic { name: "T".to_owned(), queue_count: 1, perm: 6, ordered: false };
    for outcome in admin.create_topic(&masters, &topic).await.expect("a legal name") {
        outcome.result.expect("created");
    }
    let long = "x".repeat(300_000);
    for dialect in [Dialect::Native, Dialect::Remoting] {
        let producer = world.producer(Some(world.tls()), dialect);
        for body in ["short", &long] {
            producer.send(OutgoingMessage::new("T", body.to_owned())).await.expect("stored");
        }
        producer.close().await;
    }
    for dialect in [Dialect::Native, Dialect::Remoting] {
        let config = PullConsumerConfig {
            name_servers: name_servers.clone(),
            tls: Some(world.tls()),
            dialect,
            group: "G".into(),
            start: Start::First,
            ..PullConsumerConfig::default()
        };
        let consumer = PullConsumer::start(config).expect("usable");
        consumer.assign(consumer.queues("T").await.expect("a route"));
        let mut sizes = Vec::new();
        while sizes.len() < 4 {
            let messages = consumer.poll(Duration::from_secs(10)).await.expect("polls");
            assert!(!messages.is_empty(), "{sizes:?}");
            sizes.extend(messages.iter().map(|message| message.body.len()));
        }
        assert_eq!(sizes, [5, 300_000, 5, 300_000], "{dialect:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_consumer_buries_and_traces_through_tls_too() {
    let world = World::new().await;
    let (name_servers, tls) = (world.names.addr.to_string(), Some(world.tls()));
    let producer = world.producer(tls.clone(), Dialect::Remoting);
    producer.send(OutgoingMessage::new("T", "poison")).await.expect("stored");
    let config = PushConsumerConfig {
        name_servers: name_servers.clone(),
        tls: tls.clone(),
        group: "G".to_owned(),
        subscriptions: vec![("T".to_owned(), Filter::All)],
        start: Start::First,
        max_reconsume_times: Some(0),
        trace: true,
        ..PushConsumerConfig::default()
    };
    let listener = Listener::orderly(|_| async { ConsumedInOrder::Suspend });
    let consumer = PushConsumer::start(config, listener).await.expect("started");
    for topic in ["%DLQ%G", "RMQ_SYS_TRACE_TOPIC"] {
        let config = PullConsumerConfig {
            name_servers: name_servers.clone(),
            tls: tls.clone(),
            group: "undertaker".into(),
            start: Start::First,
            ..PullConsumerConfig::default()
        };
        let reader = PullConsumer::start(config).expect("usable");
        let mut found = Vec::new();
        for _ in 0..100 {
            reader.assign(reader.queues(topic).await.unwrap_or_default());
            found = reader.poll(Duration::from_millis(200)).await.expect("polls");
            if !found.is_empty() {
                break;
            }
        }
        assert!(!found.is_empty(), "nothing came to {topic}");
    }
    consumer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_without_tls_or_trusts_another_is_told_so() {
    let world = World::new().await;
    let other = another(world.directory.path());
    let stranger = ClientTls { trust: Trust::Named(other), identity: None };
    for tls in [None, Some(stranger)] {
        let sent = world.producer(tls, Dialect::Native).send(OutgoingMessage::new("T", "a")).await;
        assert!(matches!(&sent, Err(error) if error.kind() == ErrorKind::Unavailable), "{sent:?}");
    }
    let missing = ClientTls { trust: Trust::Named(world.path("missing.crt")), identity: None };
    let config = ProducerConfig { tls: Some(missing), ..ProducerConfig::default() };
    assert!(matches!(Producer::start(config), Err(Error::Tls(_))));
}

/// The certificate of a server that is not asked.
fn another(directory: &Path) -> PathBuf {
    let home = directory.join("other");
    ringmq_tls::ServerTls::open(&Settings::default(), Some(&home), &["127.0.0.1".into()]).expect("made");
    home.join("self-signed.crt")
}
