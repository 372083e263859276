//! The broker's command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ringmq_broker::net::driver::Ended;
use ringmq_broker::server::settings::Settings;
use ringmq_broker::server::{Embedded, check, logging};
use ringmq_proto::build_info;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Leaves with 2: unusable arguments, configuration or machine.
const UNUSABLE: u8 = 2;

/// RingMQ's broker: each shard is a complete broker on one core.
#[derive(Parser)]
#[command(name = "ringmq-broker", version = build_info::VERSION, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Look at a log without writing: recovery's verdict and damaged ranges. Leaves with 0 when sound, else 1.
    Check {
        /// The data directory.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

/// Every flag is also a setting of the file and, as RINGMQ_NAME, of the environment.
#[derive(Args)]
struct Serve {
    /// Broker name of shard 0; shard K is sK-NAME. [default: broker-a]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Cluster name. [default: DefaultCluster]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Name servers: `HOST:PORT;HOST:PORT`. Without any the broker serves unregistered.
    #[arg(long, value_name = "LIST")]
    namesrv: Option<String>,
    /// Where shard 0 listens; shard K ten ports further on. [default: 127.0.0.1:10911]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What clients are told instead of the address to listen on.
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Shards of a new data directory. [default: 1]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Cores for the executors, `1,3` or `0-3`; without them each shard has a thread that is not pinned.
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// Acknowledge when on disk, or when in the kernel's hands: sync or async. [default: sync]
    #[arg(long, value_name = "WHEN")]
    flush: Option<String>,
    /// How sockets and disk are driven: auto, ring or glommio. [default: auto]
    #[arg(long, value_name = "HOW")]
    data_plane: Option<String>,
    /// Memory of each shard for the newest part of its log. [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    hot_tail: Option<String>,
    /// Size of a segment of a new log. [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    segment: Option<String>,
    /// How long, or how much, is kept: `72h`, `100GiB`, `72h,100GiB` or `none`. [default: 72h]
    #[arg(long, value_name = "SPAN|SIZE")]
    retention: Option<String>,
    /// Operations port: /metrics, /healthz, /readyz.
    #[arg(long, value_name = "HOST:PORT")]
    ops: Option<String>,
    /// TLS: disabled, permissive (with and without on the same port) or enforcing. [default: permissive]
    #[arg(long, value_name = "MODE")]
    tls_mode: Option<String>,
    /// PEM file of the certificate; read again when it changes. [default: one of the broker's own making]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// A TOML file of settings, or a broker.conf of RocketMQ.
    #[arg(long, value_name = "FILE", env = "RINGMQ_CONFIG")]
    config: Option<PathBuf>,
    /// Any setting; --print-config lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print all settings with where each came from, and leave.
    #[arg(long)]
    print_config: bool,
}

impl Serve {
    fn settings(&self) -> Result<Settings, String> {
        let mut settings = Settings::default();
        if let Some(path) = &self.config {
            settings.file(path)?;
        }
        settings.environment(std::env::vars().filter(|(name, _)| name != "RINGMQ_CONFIG"))?;
        let flags = [
            ("name", &self.name),
            ("cluster", &self.cluster),
            ("namesrv", &self.namesrv),
            ("listen", &self.listen),
            ("advertise", &self.advertise),
            ("data", &self.data),
            ("shards", &self.shards),
            ("cores", &self.cores),
            ("flush", &self.flush),
            ("data-plane", &self.data_plane),
            ("hot-tail", &self.hot_tail),
            ("segment", &self.segment),
            ("retention", &self.retention),
            ("ops", &self.ops),
            ("tls-mode", &self.tls_mode),
            ("tls-cert", &self.tls_cert),
            ("tls-key", &self.tls_key),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                settings.set(name, value, &format!("--{name}"))?;
            }
        }
        self.set.iter().try_for_each(|assignment| settings.assignment(assignment))?;
        Ok(settings)
    }
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let result = match command_line.command {
        Some(Command::Check { data }) => look(&data),
        None => serve(&command_line.serve),
    };
    result.unwrap_or_else(|sentence| {
        eprintln!("ringmq-broker: {sentence}");
        ExitCode::from(UNUSABLE)
    })
}

fn look(data: &std::path::Path) -> Result<ExitCode, String> {
    let verdict = check::check_directory(data).map_err(|error| error.to_string())?;
    print!("{}", verdict.text);
    Ok(if verdict.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(flags: &Serve) -> Result<ExitCode, String> {
    let settings = flags.settings()?;
    if flags.print_config {
        print!("{}", settings.print());
        return Ok(ExitCode::SUCCESS);
    }
    let config = settings.finish()?;
    logging::start(&config)?;
    let signals = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("signals cannot be heard: {error}"))?;
    let embedded = Embedded::start(&config).map_err(|error| error.to_string())?;
    let mut ready = format!("ready {}", config.name);
    for shard in embedded.shards() {
        ready += &format!(" {}", shard.address);
    }
    if let Some(operations) = embedded.operations_address() {
        ready += &format!(" ops={operations}");
    }
    // Who has read the line may ask for the end at once.
    let mut asked =
        signals.block_on(async { Asked::listen() }).map_err(|error| format!("signals cannot be heard: {error}"))?;
    println!("{ready}");
    std::io::stdout().flush().map_err(|error| format!("standard output is closed: {error}"))?;
    let stopper = embedded.stopper();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            signals.block_on(asked.next());
            tracing::info!("stopping");
            stopper.stop();
            signals.block_on(asked.next());
            tracing::warn!("asked twice: leaving at once");
            std::process::exit(1);
        })
        .map_err(|error| format!("signals cannot be heard: {error}"))?;
    let ends = embedded.wait();
    let failed = ends.iter().any(|(_, ended)| *ended != Ended::Stopped);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Requests to end: SIGTERM and SIGINT.
struct Asked {
    terminate: Signal,
    interrupt: Signal,
}

impl Asked {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
