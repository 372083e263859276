//! What each command asks the cluster for, and the table that it makes of the answers.

use std::collections::BTreeMap;

use ringmq_client::admin::{NewTopic, Outcome};
use ringmq_client::{Admin, Broker, Error, Message};
use ringmq_proto::code::Code;

use crate::table::{Cell, Table};
use crate::time::utc;

const PERM_WRITE: u32 = 2;
const PERM_READ: u32 = 4;

/// What a command has to say.
pub(crate) struct Report {
    pub(crate) table: Table,
    /// Broker name and what went wrong there.
    pub(crate) failures: Vec<(String, Error)>,
}

/// Reads r, w or rw.
pub(crate) fn permission(text: &str) -> Result<u32, String> {
    match text {
        "r" => Ok(PERM_READ),
        "w" => Ok(PERM_WRITE),
        "rw" | "wr" => Ok(PERM_READ | PERM_WRITE),
        _ => Err("one of r, w, rw".to_owned()),
    }
}

fn permission_text(perm: u32) -> &'static str {
    match (perm & PERM_READ != 0, perm & PERM_WRITE != 0) {
        (true, true) => "rw",
        (true, false) => "r",
        (false, true) => "w",
        (false, false) => "-",
    }
}

pub(crate) async fn create_topic(admin: &Admin, cluster: Option<&str>, topic: &NewTopic) -> Result<Report, Error> {
    let masters = masters(admin, cluster).await?;
    let outcomes = admin.create_topic(&masters, topic).await?;
    Ok(done("created", &topic.name, outcomes))
}

pub(crate) async fn delete_topic(admin: &Admin, cluster: Option<&str>, topic: &str) -> Result<Report, Error> {
    let masters = masters(admin, cluster).await?;
    let mut outcomes = admin.delete_topic(&masters, topic).await;
    if outcomes.iter().any(|outcome| outcome.result.is_ok()) {
        // A broker that does not have it has nothing to delete.
        outcomes.retain(|outcome| !is_unknown(outcome));
    }
    Ok(done("deleted", topic, outcomes))
}

pub(crate) async fn list_topics(admin: &Admin, cluster: Option<&str>) -> Result<Report, Error> {
    #[derive(Default)]
    struct Row {
        brokers: u64,
        queues: u64,
        perm: u32,
        ordered: bool,
    }
    let masters = masters(admin, cluster).await?;
    let mut failures = Vec::new();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for outcome in admin.list_topics(&masters).await {
        for topic in collect(outcome, &mut failures).unwrap_or_default() {
            let row = rows.entry(topic.name).or_default();
            row.brokers += 1;
            row.queues += u64::from(topic.queue_count);
            row.perm |= topic.perm;
            row.ordered |= topic.ordered;
        }
    }
    let mut table = Table::new(["topic", "brokers", "queues", "permission", "ordered"]);
    for (name, row) in rows {
        let ordered = if row.ordered { "yes" } else { "no" };
        let (brokers, queues) = (Cell::Number(row.brokers), Cell::Number(row.queues));
        table.push([Cell::Text(name), brokers, queues, permission_text(row.perm).into(), ordered.into()]);
    }
    Ok(Report { table, failures })
}

pub(crate) async fn topic_stats(admin: &Admin, cluster: Option<&str>, topic: &str) -> Result<Report, Error> {
    let masters = masters(admin, cluster).await?;
    let outcomes = admin.topic_stats(&masters, topic).await;
    if outcomes.is_empty() {
        let remark = "none of the masters has it".to_owned();
        return Err(Error::NoRoute { topic: topic.to_owned(), remark });
    }
    let mut failures = Vec::new();
    let mut table = Table::new(["broker", "queue", "min", "max", "messages", "last stored"]);
    for outcome in outcomes {
        let name = outcome.broker.name.clone();
        for queue in collect(outcome, &mut failures).unwrap_or_default() {
            let (min, max) = (queue.min_offset.get(), queue.max_offset.get());
            let last = if queue.last_store_time_ms == 0 { "-".to_owned() } else { utc(queue.last_store_time_ms) };
            table.push([
                Cell::Text(name.clone()),
                Cell::Number(queue.queue_id.into()),
                Cell::Number(min),
                Cell::Number(max),
                Cell::Number(max.saturating_sub(min)),
                Cell::Text(last),
            ]);
        }
    }
    Ok(Report { table, failures })
}

pub(crate) async fn list_cluster(admin: &Admin, cluster: Option<&str>) -> Result<Report, Error> {
    let mut table = Table::new(["cluster", "broker", "id", "address"]);
    for broker in admin.brokers().await? {
        if cluster.is_none_or(|cluster| broker.cluster == cluster) {
            let id = Cell::Number(broker.id.max(0).unsigned_abs());
            table.push([Cell::Text(broker.cluster), Cell::Text(broker.name), id, Cell::Text(broker.address)]);
        }
    }
    Ok(Report { table, failures: Vec::new() })
}

pub(crate) async fn view_message(admin: &Admin, id: &str) -> Result<Report, Error> {
    let message = admin.message(id).await?;
    let mut table = Table::new(["field", "value"]);
    let mut row = |field: &str, value: Cell| table.push([Cell::Text(field.to_owned()), value]);
    row("topic", message.topic().into());
    row("broker", (&*message.queue.broker_name).into());
    row("queue", Cell::Number(message.queue.queue_id.into()));
    row("queue offset", Cell::Number(message.queue_offset.get()));
    row("position", Cell::Number(message.position.get()));
    row("born", Cell::Text(utc(message.born_time_ms)));
    row("stored", Cell::Text(utc(message.store_time_ms)));
    for (name, value) in message.properties().iter() {
        let value = Cell::Text(String::from_utf8_lossy(value).into_owned());
        row(&format!("property {}", String::from_utf8_lossy(name)), value);
    }
    row("body bytes", Cell::Number(message.body.len() as u64));
    row("body", Cell::Text(String::from_utf8_lossy(&message.body).into_owned()));
    Ok(Report { table, failures: Vec::new() })
}

pub(crate) async fn messages_by_key(admin: &Admin, topic: &str, key: &str, count_max: u32) -> Result<Report, Error> {
    Ok(listed(&admin.messages_by_key(topic, key, count_max, 0..=u64::MAX).await?))
}

pub(crate) async fn messages_by_id(admin: &Admin, topic: &str, id: &str) -> Result<Report, Error> {
    Ok(listed(&admin.messages_by_unique_id(topic, id).await?))
}

pub(crate) async fn reset_group(
    admin: &Admin,
    group: &str,
    topic: &str,
    time_ms: Option<u64>,
    backwards: bool,
) -> Result<Report, Error> {
    let mut table = Table::new(["broker", "queue", "offset"]);
    for (queue, offset) in admin.reset_offsets(group, topic, time_ms, backwards).await? {
        let (number, offset) = (Cell::Number(queue.queue_id.into()), Cell::Number(offset.get()));
        table.push([(&*queue.broker_name).into(), number, offset]);
    }
    Ok(Report { table, failures: Vec::new() })
}

/// A row a message.
fn listed(messages: &[Message]) -> Report {
    let mut table = Table::new(["broker", "queue", "offset", "stored", "message id", "unique id", "body bytes"]);
    for message in messages {
        table.push([
            (&*message.queue.broker_name).into(),
            Cell::Number(message.queue.queue_id.into()),
            Cell::Number(message.queue_offset.get()),
            Cell::Text(utc(message.store_time_ms)),
            Cell::Text(message.message_id()),
            Cell::Text(message.unique_id()),
            Cell::Number(message.body.len() as u64),
        ]);
    }
    Report { table, failures: Vec::new() }
}

async fn masters(admin: &Admin, cluster: Option<&str>) -> Result<Vec<Broker>, Error> {
    let masters = admin.masters(cluster).await?;
    if masters.is_empty() {
        let topic = cluster.unwrap_or("any cluster").to_owned();
        return Err(Error::NoRoute { topic, remark: "no master is registered with the name server".to_owned() });
    }
    Ok(masters)
}

fn done(what: &str, topic: &str, outcomes: Vec<Outcome<()>>) -> Report {
    let mut failures = Vec::new();
    let mut table = Table::new(["broker", "topic", "result"]);
    for outcome in outcomes {
        let name = outcome.broker.name.clone();
        let result = if collect(outcome, &mut failures).is_some() { what } else { "failed" };
        table.push([Cell::Text(name), topic.into(), result.into()]);
    }
    Report { table, failures }
}

fn collect<T>(outcome: Outcome<T>, failures: &mut Vec<(String, Error)>) -> Option<T> {
    outcome.result.map_err(|error| failures.push((outcome.broker.name, error))).ok()
}

fn is_unknown<T>(outcome: &Outcome<T>) -> bool {
    outcome.result.as_ref().is_err_and(|error| error.code() == Some(Code::TOPIC_NOT_EXIST))
}
