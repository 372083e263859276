//! The broker's process as an operator and a client meet it: a real binary, a real disk, a real name server.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ringmq_broker::server::Embedded;
use ringmq_broker::server::config::Config;
use ringmq_client::{OutgoingMessage, Producer, ProducerConfig, PullConsumer, PullConsumerConfig, Start};
use ringmq_tls::{ClientStream, ClientTls, Trust};

const MESSAGE_COUNT: usize = 500;

fn broker(data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-broker"));
    let small = ["--set", "listen=127.0.0.1:0", "--set", "segment=4MiB", "--set", "hot-tail=8MiB", "--data"];
    command.args(small).arg(data).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn name_server() -> ringmq_namesrv::Handle {
    let config = ringmq_namesrv::Config { listen: ([127, 0, 0, 1], 0).into(), ..ringmq_namesrv::Config::default() };
    ringmq_namesrv::spawn_thread(config).expect("a name server")
}

struct Process {
    child: Child,
    ready: String,
}

impl Process {
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut child = broker(data, more).stderr(Stdio::inherit()).spawn().expect("starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut ready).expect("a line");
        assert!(ready.starts_with("ready broker-a 127.0.0.1:"), "{ready:?}");
        Self { child, ready }
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    fn signal(&mut self, signal: rustix::process::Signal) -> Option<i32> {
        rustix::process::kill_process(self.pid(), signal).expect("is running");
        self.child.wait().expect("ends").code()
    }

    fn connect(&self) -> TcpStream {
        let address = self.ready.trim().split(' ').nth(2).expect("an address");
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("sets");
        stream
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also when a test fails half-way; a process that has ended is no news.
        if self.child.kill().is_ok() {
            self.child.wait().expect("is reaped");
        }
    }
}

/// Whether a shard answers on this connection (what it thinks of a browser).
fn is_served(mut stream: TcpStream) -> bool {
    let mut answer = String::new();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 ")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Sends the messages of one round; every one is acknowledged.
async fn send(name_servers: &str, round: usize) {
    let config = ProducerConfig { name_servers: name_servers.to_owned(), ..ProducerConfig::default() };
    let producer = Producer::start(config).expect("starts");
    // The first send makes the topic.
    producer.send(OutgoingMessage::new("t", format!("{round}-0"))).await.expect("acknowledged");
    let rest = (1..MESSAGE_COUNT).map(|number| OutgoingMessage::new("t", format!("{round}-{number}")));
    let sends: Vec<_> = rest.map(|message| producer.enqueue(message).expect("there is room")).collect();
    for send in sends {
        send.await.expect("acknowledged");
    }
    producer.close().await;
}

async fn received(name_servers: &str, count: usize) -> BTreeSet<String> {
    let name_servers = name_servers.to_owned();
    let config =
        PullConsumerConfig { name_servers, group: "g".into(), start: Start::First, ..PullConsumerConfig::default() };
    let consumer = PullConsumer::start(config).expect("starts");
    consumer.assign(consumer.queues("t").await.expect("a route"));
    let mut all = BTreeSet::new();
    while all.len() < count {
        let messages = consumer.poll(Duration::from_secs(10)).await.expect("polls");
        assert!(!messages.is_empty(), "{} of {count} messages", all.len());
        all.extend(messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()));
    }
    all
}

fn expected(rounds: usize) -> BTreeSet<String> {
    (0..rounds).flat_map(|round| (0..MESSAGE_COUNT).map(move |number| format!("{round}-{number}"))).collect()
}

/// How one of its clients would trust the broker's own certificate.
fn trusting(data: &Path) -> ClientTls {
    ClientTls { trust: Trust::Named(data.join("tls/self-signed.crt")), identity: None }
}

/// Whether a shard answers on this connection, which is put into TLS.
fn is_served_by_tls(stream: TcpStream, tls: &ClientTls) -> bool {
    let config = tls.config().expect("a certificate");
    block_on(async {
        stream.set_nonblocking(true).expect("sets");
        let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
        let answered = async {
            let mut stream = ClientStream::new(stream, "127.0.0.1:1", Some(config)).await?;
            let mut answer = Vec::new();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
            while stream.read_buf(&mut answer).await? > 0 {}
            Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 "))
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.expect("in time").unwrap_or(false)
    })
}

#[test]
fn who_comes_without_tls_where_it_is_enforced_costs_one_line_and_who_comes_with_it_is_served() {
    let directory = tempfile::tempdir().expect("a directory");
    for data_plane in ["ring", "glommio"] {
        let mut child =
            broker(directory.path(), &["--tls-mode", "enforcing", "--data-plane", data_plane]).spawn().expect("starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut ready).expect("a line");
        let mut process = Process { child, ready };
        for _ in 0..3 {
            assert!(!is_served(process.connect()));
        }
        assert!(is_served_by_tls(process.connect(), &trusting(directory.path())));
        assert_eq!(process.signal(rustix::process::Signal::TERM), Some(0));
        let mut said = String::new();
        process.child.stderr.as_mut().expect("piped").read_to_string(&mut said).expect("text");
        assert_eq!(said.lines().filter(|line| line.contains("without TLS was refused")).count(), 1, "{said}");
    }
}

#[test]
fn certificate_that_changes_is_shown_to_the_next_client_without_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, other) = (directory.path().join("data"), directory.path().join("other"));
    let process = Process::start(&data, &[]);
    assert!(is_served(process.connect()) && is_served_by_tls(process.connect(), &trusting(&data)));
    drop(Process::start(&other, &[]));
    // Another broker's certificate: the same name, another key.
    std::fs::rename(other.join("tls/self-signed.pem"), data.join("tls/self-signed.pem")).expect("renames");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !is_served_by_tls(process.connect(), &trusting(&other)) {
        assert!(std::time::Instant::now() < deadline, "the new certificate is in use within seconds");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!is_served_by_tls(process.connect(), &trusting(&data)), "the old one is not");
}

#[test]
fn broker_registers_by_tls_with_a_name_server_that_enforces_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut tls = ringmq_tls::Settings::default();
    tls.set("tls.server.mode", "enforcing").expect("a mode");
    let tls_home = Some(directory.path().join("namesrv"));
    let listen = ([127, 0, 0, 1], 0).into();
    let config = ringmq_namesrv::Config { listen, tls, tls_home, ..ringmq_namesrv::Config::default() };
    let name_server = ringmq_namesrv::spawn_thread(config).expect("a name server");
    let mut config = Config {
        data: directory.path().join("broker"),
        namesrv: vec![name_server.addr.to_string()],
        listen,
        segment_size_bytes: 4 << 20,
        ..Config::default()
    };
    let trust = directory.path().join("namesrv/self-signed.crt").display().to_string();
    for (name, value) in [("tls.enable", "true"), ("tls.client.trustCertPath", &trust)] {
        config.tls.set(name, value).expect("understood");
    }
    let broker = Embedded::start(&config).expect("starts");
    let stats = name_server.stats();
    assert!(stats.requests >= 1 && stats.tls == 1 && stats.closed_plain == 0, "{stats:?}");
    broker.stop();
}

#[test]
fn acknowledged_messages_survive_kill_9_and_a_clean_stop_leaves_with_0() {
    let directory = tempfile::tempdir().expect("a directory");
    let name_server = name_server();
    let name_servers = name_server.addr.to_string();
    let flags = ["--namesrv", &name_servers, "--shards", "2", "--ops", "127.0.0.1:0"];
    // The other data plane than the one that goes on below.
    let mut process = Process::start(directory.path(), &[&flags[..], &["--data-plane", "glommio"]].concat());
    assert_eq!(process.ready.split(' ').count(), 5, "two shards and the operations port: {}", process.ready);
    block_on(send(&name_servers, 0));
    process.signal(rustix::process::Signal::KILL);
    drop(process);

    let mut process = Process::start(directory.path(), &flags);
    block_on(send(&name_servers, 1));
    assert_eq!(block_on(received(&name_servers, 2 * MESSAGE_COUNT)), expected(2));
    assert_eq!(process.signal(rustix::process::Signal::TERM), Some(0));
    drop(process);

    let check =
        Command::new(env!("CARGO_BIN_EXE_ringmq-broker")).args(["check", "--data"]).arg(directory.path()).output();
    let Output { status, stdout, .. } = check.expect("runs");
    let text = String::from_utf8_lossy(&stdout);
    assert_eq!(status.code(), Some(0), "{text}");
    assert_eq!(text.matches("last stop clean").count(), 2, "{text}");
}

#[test]
fn process_that_is_interrupted_in_its_sleep_serves_on() {
    let directory = tempfile::tempdir().expect("a directory");
    for plane in ["ring", "glommio"] {
        let mut process = Process::start(directory.path(), &["--data-plane", plane]);
        for _ in 0..50 {
            // Stopped and continued: every system call that sleeps is interrupted.
            for signal in [rustix::process::Signal::STOP, rustix::process::Signal::CONT] {
                rustix::process::kill_process(process.pid(), signal).expect("is running");
            }
            assert!(is_served(process.connect()), "{plane}");
        }
        assert_eq!(process.signal(rustix::process::Signal::TERM), Some(0), "{plane}");
    }
}

#[test]
fn clients_that_came_while_no_descriptor_was_left_are_served_when_there_is_one() {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
    let directory = tempfile::tempdir().expect("a directory");
    for plane in ["ring", "glommio"] {
        let process = Process::start(directory.path(), &["--data-plane", plane]);
        assert!(is_served(process.connect()));
        // Below what is open already: not one more.
        let none = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Some(process.pid()), Resource::Nofile, none).expect("limits");
        let waiting: Vec<TcpStream> = (0..5).map(|_| process.connect()).collect();
        std::thread::sleep(Duration::from_millis(350));
        let many = Rlimit { current: none.maximum, maximum: none.maximum };
        prlimit(Some(process.pid()), Resource::Nofile, many).expect("lifts the limit");
        for stream in waiting {
            assert!(is_served(stream), "{plane}");
        }
    }
}

#[test]
fn damage_is_found_by_check_which_then_leaves_with_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let name_server = name_server();
    let name_servers = name_server.addr.to_string();
    let mut process = Process::start(directory.path(), &["--namesrv", &name_servers]);
    block_on(send(&name_servers, 0));
    assert_eq!(process.signal(rustix::process::Signal::TERM), Some(0));
    let segment = directory.path().join("shard-0/log/00000000000000000000");
    let mut bytes = std::fs::read(&segment).expect("reads");
    let body = bytes.windows(5).position(|window| window == b"0-123").expect("a message's body");
    bytes[body] ^= 1;
    std::fs::write(&segment, bytes).expect("writes");
    let check =
        Command::new(env!("CARGO_BIN_EXE_ringmq-broker")).args(["check", "--data"]).arg(directory.path()).output();
    let Output { status, stdout, .. } = check.expect("runs");
    assert_eq!(status.code(), Some(1), "{}", String::from_utf8_lossy(&stdout));
}

#[test]
fn what_prevents_a_start_is_said_in_one_sentence_with_exit_code_2() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let _serving = Process::start(&data, &["--shards", "2"]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").to_string();
    let fresh = directory.path().join("fresh");
    let listen = format!("listen={taken}");
    let cases: [(&Path, &[&str], &str); 9] = [
        (&data, &[], "in use"),
        (&data, &["--shards", "3"], "holds 2 shards"),
        (&fresh, &["--set", &listen], "is taken"),
        (&fresh, &["--ops", &taken], "is taken"),
        (&fresh, &["--data-plane", "epoll"], "none of auto, ring, glommio"),
        (&fresh, &["--set", "hottail=1GiB"], "is not a setting"),
        (&fresh, &["--flush", "maybe"], "none of sync, async"),
        (&fresh, &["--cores", "999"], "core 999"),
        (Path::new("/proc/ringmq"), &[], "/proc/ringmq"),
    ];
    for (data, flags, part) in cases {
        let Output { status, stdout, stderr } = broker(data, flags).output().expect("runs");
        let text = String::from_utf8_lossy(&stderr);
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(status.code(), Some(2), "{flags:?}: {text}");
        assert!(last.starts_with("ringmq-broker: ") && last.contains(part), "{flags:?}: {text}");
        assert!(stdout.is_empty());
    }
}

#[test]
fn printed_configuration_names_the_origin_of_each_setting() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("broker.toml");
    std::fs::write(&file, "cluster = 'C'\n").expect("writes");
    let mut child = broker(directory.path(), &["--print-config", "--config"])
        .arg(&file)
        .env("RINGMQ_RETENTION", "7d")
        .spawn()
        .expect("starts");
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("reads");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    for (setting, origin) in
        [("cluster = \"C\"", "broker.toml"), ("retention = \"168h\"", "RINGMQ_RETENTION"), ("listen", "--set")]
    {
        let line = text.lines().find(|line| line.starts_with(setting)).unwrap_or_default();
        assert!(line.ends_with(origin), "{setting}: {text}");
    }
}

#[test]
fn embedded_broker_that_is_killed_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let name_server = name_server();
    let name_servers = name_server.addr.to_string();
    let config = Config {
        data: directory.path().to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        namesrv: vec![name_servers.clone()],
        segment_size_bytes: 4 << 20,
        hot_tail_bytes: 8 << 20,
        ..Config::default()
    };
    let embedded = Embedded::start(&config).expect("starts");
    assert_eq!(embedded.shards().len(), 1);
    block_on(send(&name_servers, 0));
    assert_eq!(embedded.kill().len(), 1);
    let embedded = Embedded::start(&config).expect("the directory is free again");
    assert_eq!(block_on(received(&name_servers, MESSAGE_COUNT)), expected(1));
    embedded.stop();
}
