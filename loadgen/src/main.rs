//! `ringmq-loadgen`: see the library for what it does.

use std::process::ExitCode;

use clap::Parser;
use ringmq_loadgen::cli::Arguments;
use ringmq_loadgen::run;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // clap ends the process itself for --help (0) and for arguments that it cannot read (2).
    let arguments = Arguments::parse();
    listen_for_signals();
    run::run(&arguments)
}

/// Ctrl-C and SIGTERM end the run early; what is known by then is still reported.
fn listen_for_signals() {
    let body = || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => run::interrupt(),
                    _ = terminate.recv() => run::interrupt(),
                }
            }
        });
    };
    if let Err(error) = std::thread::Builder::new().name("signals".into()).spawn(body) {
        tracing::warn!("signals are not heard: {error}");
    }
}
