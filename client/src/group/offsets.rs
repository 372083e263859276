//! How far a group has come in each queue: in memory first, then with the broker (clustering), or in a file of this member
//! (broadcasting), in RocketMQ's place and form:
//!
//! ```text
//! <directory>/<client id>/<group>/offsets.json     {"offsetTable":{"{\"brokerName\":…,\"queueId\":0,\"topic\":…}":17}}
//! ```
//!
//! The file is replaced as a whole. What was consumed after the last commit is consumed again after a crash.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringmq_proto::remoting::client_push::ResetOffsetBody;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::message::MessageQueue;
use crate::remoting::broker::{own_queue, wire_queue};

/// See the module's text.
pub(crate) struct Offsets {
    cluster: Arc<Cluster>,
    group: Arc<str>,
    table: Mutex<HashMap<MessageQueue, Known>>,
    /// Of a broadcasting member.
    file: Option<PathBuf>,
}

#[derive(Clone, Copy)]
struct Known {
    offset: i64,
    committed: Option<i64>,
}

impl Offsets {
    /// Offsets that are kept by the brokers.
    pub(crate) fn remote(cluster: Arc<Cluster>, group: Arc<str>) -> Self {
        Self { cluster, group, table: Mutex::default(), file: None }
    }

    /// Offsets that are kept below `directory`.
    ///
    /// # Errors
    /// When there is a file that cannot be read: what was read already must not be forgotten unseen.
    pub(crate) fn local(cluster: Arc<Cluster>, group: Arc<str>, directory: &Path, client_id: &str) -> Result<Self> {
        let file = directory.join(client_id).join(&*group).join("offsets.json");
        let mut table = HashMap::new();
        match std::fs::read(&file) {
            Ok(bytes) => {
                let unreadable = |_| Error::Argument("the file of a broadcasting consumer's offsets cannot be read");
                let read = ResetOffsetBody::decode(&bytes).map_err(unreadable)?;
                for (queue, offset) in &read.offset_table.0 {
                    if let Some(queue) = own_queue(queue) {
                        table.insert(queue, Known { offset: *offset, committed: Some(*offset) });
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Err(Error::Argument("the file of a broadcasting consumer's offsets cannot be opened")),
        }
        Ok(Self { cluster, group, table: Mutex::new(table), file: Some(file) })
    }

    /// What the group has consumed of `queue` as far as the store knows, memory not asked.
    pub(crate) async fn stored(&self, queue: &MessageQueue) -> Result<Option<i64>> {
        if self.file.is_some() {
            return Ok(self.known(queue));
        }
        let link = self.cluster.remoting_of(&queue.topic, &queue.broker_name).await?;
        link.consumer_offset(&self.group, queue).await
    }

    /// What was consumed of `queue`, in memory.
    pub(crate) fn known(&self, queue: &MessageQueue) -> Option<i64> {
        self.lock().get(queue).map(|known| known.offset)
    }

    /// All below `offset` was consumed. Goes forward only.
    pub(crate) fn advance(&self, queue: &MessageQueue, offset: i64) {
        let mut table = self.lock();
        let known = table.entry(queue.clone()).or_insert(Known { offset, committed: None });
        known.offset = known.offset.max(offset);
    }

    /// Somebody moved the group to `offset`.
    pub(crate) fn set(&self, queue: &MessageQueue, offset: i64) {
        self.lock().insert(queue.clone(), Known { offset, committed: None });
    }

    /// This member reads `queue` no more.
    pub(crate) fn forget(&self, queue: &MessageQueue) {
        if self.file.is_none() {
            self.lock().remove(queue);
        }
    }

    /// All offsets of a topic.
    pub(crate) fn of_topic(&self, topic: &str) -> BTreeMap<MessageQueue, i64> {
        let table = self.lock();
        table
            .iter()
            .filter(|(queue, _)| *queue.topic == *topic)
            .map(|(queue, known)| (queue.clone(), known.offset))
            .collect()
    }

    /// Stores what changed. With `must_arrive` the brokers are waited for.
    pub(crate) async fn commit(&self, must_arrive: bool) {
        let changed: Vec<(MessageQueue, i64)> = {
            let table = self.lock();
            let is_new = |(_, known): &(&MessageQueue, &Known)| known.committed != Some(known.offset);
            table.iter().filter(is_new).map(|(queue, known)| (queue.clone(), known.offset)).collect()
        };
        if changed.is_empty() {
            return;
        }
        if let Some(file) = &self.file {
            match self.write(file) {
                Ok(()) => changed.iter().for_each(|(queue, offset)| self.committed(queue, *offset)),
                Err(error) => tracing::warn!(file = %file.display(), %error, "cannot store offsets"),
            }
            return;
        }
        for (queue, _) in changed {
            // As it is now: while an earlier one was on its way, the queue may have gone to another member.
            let Some(offset) = self.known(&queue) else { continue };
            if let Err(error) = self.commit_one(&queue, offset, must_arrive).await {
                tracing::debug!(?queue, %error, "cannot commit an offset; it is tried again");
            }
        }
    }

    /// Stores the offset of one queue, before it goes to another member.
    pub(crate) async fn commit_queue(&self, queue: &MessageQueue) {
        let Some(offset) = self.known(queue) else { return };
        if self.file.is_some() {
            return self.commit(false).await;
        }
        if let Err(error) = self.commit_one(queue, offset, true).await {
            tracing::debug!(?queue, %error, "cannot commit an offset");
        }
    }

    async fn commit_one(&self, queue: &MessageQueue, offset: i64, must_arrive: bool) -> Result<()> {
        let link = self.cluster.remoting_of(&queue.topic, &queue.broker_name).await?;
        if must_arrive {
            link.commit_offset(&self.group, queue, offset).await?;
        } else {
            link.commit_offset_oneway(&self.group, queue, offset).await?;
        }
        self.committed(queue, offset);
        Ok(())
    }

    fn committed(&self, queue: &MessageQueue, offset: i64) {
        if let Some(known) = self.lock().get_mut(queue) {
            known.committed = Some(offset);
        }
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let table = self.lock().iter().map(|(queue, known)| (wire_queue(queue), known.offset)).collect();
        let body = ResetOffsetBody { offset_table: table }.encode();
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let new = file.with_extension("json.new");
        std::fs::write(&new, body)?;
        std::fs::rename(new, file)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MessageQueue, Known>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: u32) -> MessageQueue {
        MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id }
    }

    fn local(directory: &Path) -> Result<Offsets> {
        let cluster = Arc::new(Cluster::new("127.0.0.1:1", None).expect("an address"));
        Offsets::local(cluster, "g".into(), directory, "c@i")
    }

    #[tokio::test]
    async fn a_broadcasting_member_finds_its_offsets_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let offsets = local(directory.path()).expect("nothing there");
        offsets.advance(&queue(0), 7);
        offsets.advance(&queue(0), 5);
        offsets.set(&queue(1), 3);
        offsets.commit(false).await;
        let again = local(directory.path()).expect("readable");
        assert_eq!((again.known(&queue(0)), again.known(&queue(1)), again.known(&queue(2))), (Some(7), Some(3), None));
        assert!(directory.path().join("c@i/g/offsets.json").exists());
    }

    #[test]
    fn an_offsets_file_of_java_is_read_and_a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("c@i/g/offsets.json");
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("made");
        std::fs::write(&file, br#"{"offsetTable":{{"brokerName":"b","queueId":2,"topic":"T"}:11}}"#).expect("written");
        assert_eq!(local(directory.path()).expect("readable").known(&queue(2)), Some(11));
        std::fs::write(&file, b"{\"offsetTable\":{{").expect("written");
        assert!(local(directory.path()).is_err());
    }
}
