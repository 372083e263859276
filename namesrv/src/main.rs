//! `ringmq-namesrv`: the name server as a program.

use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ringmq_namesrv::options::Options;
use ringmq_namesrv::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code for unusable arguments or an unusable machine.
const EXIT_UNUSABLE: u8 = 2;

/// A name server for RingMQ and RocketMQ brokers: it tells clients where topics are.
#[derive(Parser)]
#[command(name = "ringmq-namesrv", version = ringmq_proto::build_info::VERSION)]
struct Arguments {
    /// Where to listen, HOST:PORT; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9876", env = "RINGMQ_NAMESRV_LISTEN", value_parser = address)]
    listen: SocketAddr,

    /// File of the key-value configuration (RocketMQ's kvConfig.json); without one, it ends with the process.
    #[arg(long, value_name = "FILE", env = "RINGMQ_NAMESRV_KV_CONFIG")]
    kv_config: Option<PathBuf>,

    /// TLS on the port: disabled, permissive (both, told apart by the first byte) or enforcing. [default: permissive]
    #[arg(long, value_name = "MODE", env = "RINGMQ_NAMESRV_TLS_MODE")]
    tls_mode: Option<String>,

    /// PEM file of the certificate; read again when it changes. [default: one of the server's own making]
    #[arg(long, value_name = "FILE", env = "RINGMQ_NAMESRV_TLS_CERT")]
    tls_cert: Option<String>,

    /// PEM file of its key.
    #[arg(long, value_name = "FILE", env = "RINGMQ_NAMESRV_TLS_KEY")]
    tls_key: Option<String>,

    /// Folder where a certificate of the server's own making is kept; without one, each start makes another.
    #[arg(long, value_name = "DIR", env = "RINGMQ_NAMESRV_TLS_HOME")]
    tls_home: Option<PathBuf>,

    /// An option under RocketMQ's name, such as orderMessageEnable=true or tls.server.need.client.auth=require; may be given
    /// several times.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    options: Vec<String>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "the name has no address".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    // A line that cannot be written is lost. Complaining of it would end the process: the only place to complain is the one
    // that takes nothing.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq-namesrv: {error:#}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

/// What `--set` and the flags of TLS say.
fn options(arguments: &Arguments) -> anyhow::Result<(Options, ringmq_tls::Settings)> {
    let (mut options, mut tls) = (Options::default(), ringmq_tls::Settings::default());
    let Arguments { tls_mode, tls_cert, tls_key, .. } = arguments;
    for (name, value) in
        [("tls.server.mode", tls_mode), ("tls.server.certPath", tls_cert), ("tls.server.keyPath", tls_key)]
    {
        value.as_deref().map_or(Ok(()), |value| tls.set(name, value))?;
    }
    for text in &arguments.options {
        match text.split_once('=') {
            // Not with the text: it may be a password.
            Some((name, value)) if name.starts_with("tls.") => tls.set(name.trim(), value.trim())?,
            _ => options.update(text).with_context(|| format!("--set {text}"))?,
        }
    }
    Ok((options, tls))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (options, tls) = options(&arguments)?;
    let Arguments { listen, kv_config, tls_home, .. } = arguments;
    let config = Config { listen, kv_config, options, tls, tls_home, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let server = Server::bind(config).await?;
        let address = server.local_addr();
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "reachable from other machines, without access control");
        }
        // Scripts wait for this line.
        println!("ready namesrv {address}");
        let stopped = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server.run(stopped).await;
        tracing::info!("stopped");
        Ok(())
    })
}
