//! The operations port: /metrics, /healthz, /readyz. It asks the control plane and never touches a shard.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::hub::Hub;
use super::metrics::Snapshots;
use crate::net::plane::Mail;

/// How long a scrape waits for fresh snapshots.
const FRESH_REST: Duration = Duration::from_millis(20);

/// What the port tells.
pub struct Status {
    /// Where shards publish.
    pub snapshots: Snapshots,
    /// Recovered, bound and registered.
    pub ready: AtomicBool,
    /// Failed shards, with why.
    pub failed: Mutex<BTreeMap<String, String>>,
    /// To ask shards for snapshots.
    pub hub: Arc<Hub>,
}

/// Serves until the runtime ends.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(listener: TcpListener, status: Arc<Status>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .with_state(status);
    axum::serve(listener, router).await
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    for shard in 0..status.hub.shard_count() {
        status.hub.post(shard, Mail::Publish);
    }
    // A busy shard publishes later: then its snapshot of this second is shown.
    tokio::time::sleep(FRESH_REST).await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], status.snapshots.encode())
}

async fn healthy(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let failed = status.failed.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<_> = failed.iter().map(|(shard, why)| format!("{shard} has failed: {why}\n")).collect();
    if lines.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, lines.concat())
    }
}

async fn ready(State(status): State<Arc<Status>>) -> impl IntoResponse {
    if status.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting, not registered, or stopping\n")
    }
}
