//! Log lines on standard error, of this program and of glommio, which logs by the `log` crate.

use std::io::stderr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;
use tracing_subscriber::util::SubscriberInitExt;

use super::config::{Config, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
/// When the level is not understood, or logging has been started before.
pub fn start(config: &Config) -> Result<(), String> {
    let wrong = |error| format!("log-level {:?} is not understood: {error}", config.log_level);
    let filter = EnvFilter::try_new(&config.log_level).map_err(wrong)?;
    // A line that cannot be written, since its disk is full or nobody reads it any more, is lost. Complaining of it would end
    // the thread: the only place to complain is the one that takes nothing.
    let builder = Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_thread_names(true)
        .log_internal_errors(false);
    let started = match config.log_format {
        LogFormat::Text => builder.with_ansi(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| format!("logging cannot be started: {error}"))
}
