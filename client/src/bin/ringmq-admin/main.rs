//! `ringmq-admin`: looks after topics and shows the cluster, from a terminal or a script.
//!
//! Results go to standard output as a table (or JSON), everything else to standard error. Exit codes: 0 done; 1 a broker
//! or name server did not do its part; 2 unusable arguments.

mod commands;
mod table;
mod time;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ringmq_client::{Admin, ClientTls, Error, ErrorKind, Identity, Trust};

use commands::Report;

/// Exit code when a broker or name server did not do its part.
const EXIT_FAILED: u8 = 1;

/// Exit code for unusable arguments, as clap's own.
const EXIT_UNUSABLE: u8 = 2;

/// Administers a RingMQ cluster.
#[derive(Parser)]
#[command(name = "ringmq-admin", version = ringmq_proto::build_info::VERSION)]
struct Arguments {
    /// The name servers, HOST:PORT, several separated by ';'.
    #[arg(long, global = true, value_name = "ADDRESS", default_value = "127.0.0.1:9876", env = "RINGMQ_NAMESRV")]
    namesrv: String,
    /// Only brokers of this cluster.
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,
    /// Speak TLS to name servers and brokers, whoever they are.
    #[arg(long, global = true)]
    tls: bool,
    /// Speak TLS to those alone that a certificate of this PEM file has signed.
    #[arg(long, global = true, value_name = "FILE")]
    tls_trust: Option<PathBuf>,
    /// PEM file of a certificate to show them.
    #[arg(long, global = true, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, global = true, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Write JSON, an array with an object for each row, instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create, delete, list and look at topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Look at clusters.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look at messages.
    #[command(subcommand)]
    Message(MessageCommand),
    /// Change where consumer groups are.
    #[command(subcommand)]
    Group(GroupCommand),
}

#[derive(Subcommand)]
enum TopicCommand {
    /// Create a topic on all masters, or change it there.
    Create(CreateArguments),
    /// Delete a topic with all its messages, on all masters.
    Delete {
        /// Name of the topic.
        topic: String,
    },
    /// All topics.
    List,
    /// The queues of a topic.
    Stats {
        /// Name of the topic.
        topic: String,
    },
}

#[derive(Args)]
struct CreateArguments {
    /// Name of the topic.
    topic: String,
    /// Queues on each master.
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    queues: u32,
    /// What clients may do: r, w or rw.
    #[arg(long, value_name = "PERMISSION", default_value = "rw", value_parser = commands::permission)]
    perm: u32,
    /// The topic lives on one master only, so that the order of a queue is the order of the topic.
    #[arg(long)]
    ordered: bool,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// All brokers with their addresses.
    List,
}

#[derive(Subcommand)]
enum MessageCommand {
    /// One message by its offset message id.
    View {
        /// The id: 32 or 56 hex digits.
        id: String,
    },
    /// The messages of a topic with a key, newest first.
    ByKey {
        /// Name of the topic.
        topic: String,
        /// One of the words of the messages' KEYS.
        key: String,
        /// At most so many from each broker.
        #[arg(long, value_name = "COUNT", default_value_t = 32)]
        max: u32,
    },
    /// The messages of a topic with a unique id (UNIQ_KEY).
    ById {
        /// Name of the topic.
        topic: String,
        /// The id.
        id: String,
    },
}

#[derive(Subcommand)]
enum GroupCommand {
    /// Move a group in all queues of a topic. Members that are connected go on from there.
    Reset {
        /// Name of the group.
        group: String,
        /// Name of the topic.
        topic: String,
        /// To the first messages stored at this time or later, in ms since 1970; without it behind the newest ones.
        #[arg(long, value_name = "MS")]
        time: Option<u64>,
        /// Also to older messages than the group has come to.
        #[arg(long)]
        backwards: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let json = arguments.json;
    match run(arguments) {
        Ok(report) => finish(&report, json),
        Err(error) => {
            eprintln!("ringmq-admin: {error}");
            // An argument that this program cannot use, or a request that is wrong wherever it is sent.
            let is_unusable = matches!(error, Error::Argument(_) | Error::Invalid(_));
            ExitCode::from(if is_unusable { EXIT_UNUSABLE } else { EXIT_FAILED })
        }
    }
}

/// How the flags want name servers and brokers to be spoken to.
fn tls(arguments: &Arguments) -> Option<ClientTls> {
    let files = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    let identity = files.map(|(certificate, key)| Identity { certificate, key, password: None });
    match &arguments.tls_trust {
        Some(roots) => Some(ClientTls { trust: Trust::SignedBy(roots.clone()), identity }),
        None => (arguments.tls || identity.is_some()).then_some(ClientTls { trust: Trust::Anyone, identity }),
    }
}

fn run(arguments: Arguments) -> Result<Report, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| Error::Argument("this machine gives no event loop (epoll) or thread"))?;
    runtime.block_on(async {
        let admin = Admin::start_with(&arguments.namesrv, tls(&arguments).as_ref())?;
        let cluster = arguments.cluster.as_deref();
        match arguments.command {
            Command::Topic(TopicCommand::Create(create)) => {
                let (name, queue_count, perm, ordered) = (create.topic, create.queues, create.perm, create.ordered);
                let topic = ringmq_client::admin::NewTopic { name, queue_count, perm, ordered };
                commands::create_topic(&admin, cluster, &topic).await
            }
            Command::Topic(TopicCommand::Delete { topic }) => commands::delete_topic(&admin, cluster, &topic).await,
            Command::Topic(TopicCommand::List) => commands::list_topics(&admin, cluster).await,
            Command::Topic(TopicCommand::Stats { topic }) => commands::topic_stats(&admin, cluster, &topic).await,
            Command::Cluster(ClusterCommand::List) => commands::list_cluster(&admin, cluster).await,
            Command::Message(MessageCommand::View { id }) => commands::view_message(&admin, &id).await,
            Command::Message(MessageCommand::ByKey { topic, key, max }) => {
                commands::messages_by_key(&admin, &topic, &key, max).await
            }
            Command::Message(MessageCommand::ById { topic, id }) => commands::messages_by_id(&admin, &topic, &id).await,
            Command::Group(GroupCommand::Reset { group, topic, time, backwards }) => {
                commands::reset_group(&admin, &group, &topic, time, backwards).await
            }
        }
    })
}

fn finish(report: &Report, json: bool) -> ExitCode {
    let text = if json { report.table.to_json() } else { report.table.to_text() };
    // Who reads may have gone (`| head`): that is no failure.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("ringmq-admin: cannot write: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
        _ => {}
    }
    for (broker, error) in &report.failures {
        let hint = if error.kind() == ErrorKind::Unavailable { " (try again)" } else { "" };
        eprintln!("ringmq-admin: {broker}: {error}{hint}");
    }
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}
