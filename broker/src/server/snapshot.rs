//! What a shard counts, as samples for the operations port. Runs on the shard's executor, once a second.

use crate::control::metrics::Snapshot;
use crate::net::driver::Counts;
use crate::shard::Shard;

/// All samples of a shard.
pub(super) fn of_shard(shard: &Shard, counts: &Counts) -> Snapshot {
    let mut all = Snapshot::default();
    requests(&mut all, shard);
    log(&mut all, shard);
    all.counter("connections_refused", "Connections beyond the limit", counts.refused);
    all.counter("tls_connections", "Connections that began a handshake of TLS", counts.tls.begun);
    all.counter("tls_failures", "Connections on which TLS failed, or that found no place for it", counts.tls.failed);
    all.counter("tls_refused_plain", "Connections refused for want of TLS", counts.tls.refused_plain);
    all.counter("connections_hung_up", "Connections that the client ended", counts.hung_up);
    all
}

fn requests(all: &mut Snapshot, shard: &Shard) {
    let metrics = shard.metrics();
    all.gauge("connections", "Open connections", metrics.connections);
    all.counter("connections_opened", "Connections ever opened", metrics.connections_opened);
    for (reason, count) in &metrics.connections_closed {
        let label = ("reason", format!("{reason:?}"));
        all.counter_of("connections_closed", "Connections that the shard ended, by reason", label, *count);
    }
    for (protocol, count) in &metrics.foreign_protocols {
        let label = ("protocol", format!("{protocol:?}"));
        all.counter_of("foreign_protocols", "Connections that spoke something else, by what", label, *count);
    }
    all.counter("received_bytes", "Bytes received", metrics.received_bytes);
    all.counter("sent_bytes", "Bytes given to the kernel to send", metrics.sent_bytes);
    all.counter("requests", "Requests of any kind", metrics.requests);
    all.counter("appended_messages", "Messages appended for clients", metrics.messages_appended);
    all.counter("appended_bytes", "Bytes of records appended for clients", metrics.appended_bytes);
    all.counter("pulled_messages", "Messages given to consumers", metrics.messages_pulled);
    all.counter("pulled_bytes", "Bytes of records given to consumers", metrics.pulled_bytes);
    all.counter("pulls", "Pulls of any outcome", metrics.pulls);
    all.counter("pulls_held", "Pulls that were held for messages to come", metrics.pulls_held);
    all.gauge("waiting_requests", "Held pulls, cold reads and topic changes that wait now", metrics.waiting);
    all.gauge("in_flight_bytes", "Bytes that are appended and not acknowledged", metrics.in_flight_bytes);
    for (code, count) in &metrics.rejections {
        all.counter_of("rejections", "Refused requests, by response code", ("code", code.to_string()), *count);
    }
    all.counter("acknowledged", "Replies that waited for the log and left", metrics.acknowledged);
    all.counter("degraded", "Replies that left with code 10, 11 or 12", metrics.degraded);
    let help = "From the append of a receive to the release of its replies";
    all.latency("acknowledge_seconds", help, &metrics.acknowledge_ns, 1e-9);
}

fn log(all: &mut Snapshot, shard: &Shard) {
    let metrics = shard.store().metrics();
    let positions = shard.store().positions();
    all.gauge("log_appended_position", "End of the log in memory", positions.appended().get());
    all.gauge("log_durable_position", "End of the log that is flushed", positions.durable().get());
    all.gauge("log_confirmed_position", "End of the log that is promised and visible", positions.visible().get());
    all.counter("commits", "Commits written to the log", metrics.commits);
    all.counter("commit_bytes", "Bytes written to the log, padding included", metrics.commit_bytes);
    all.counter("padding_bytes", "Bytes of padding written to the log", metrics.padding_bytes);
    all.counter("refused_full", "Appends refused because the disk is full", metrics.refused_full);
    all.counter("refused_busy", "Appends refused because too much waits for the disk", metrics.refused_busy);
    all.counter("segments_released", "Segments given up by retention", metrics.segments_released);
    all.counter("background_failures", "Background operations of the disk that failed", metrics.background_failures);
    all.counter("damaged_reads", "Reads that met damage", metrics.damaged_reads);
    all.counter("failed_reads", "Reads that the disk failed, and that may succeed another time", metrics.failed_reads);
    all.distribution("commit_records", "Records in a commit", &metrics.group_size);
    let help = "From the issue of a commit to its completion, flush included";
    all.latency("commit_seconds", help, &metrics.commit_us, 1e-6);
    let of_messages = &metrics.commit_us_of_messages;
    let help = "Microseconds of the longest commit that a message waited for, median";
    all.gauge("message_commit_p50_us", help, of_messages.value_at_quantile(0.5));
    let help = "Microseconds of the longest commit that a message waited for, 99th percentile";
    all.gauge("message_commit_p99_us", help, of_messages.value_at_quantile(0.99));
}
