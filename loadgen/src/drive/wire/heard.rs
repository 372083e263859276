//! Answers that carry something: where sent messages lie, and messages that were pulled.

use ringmq_proto::message::{Batch, StoredMessage, iter_stored};
use ringmq_proto::native::SendReply;
use ringmq_proto::record::{RecordKind, RecordView, Records};

/// Where messages of a send were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Of the queue, as the connection named it.
    pub handle: u32,
    /// Offset of the first.
    pub first_offset: u64,
    /// How many follow each other there.
    pub count: u64,
}

/// The results of a send, in the order of the messages.
pub enum Results<'a> {
    /// Of a native send: one a record that the messages became.
    Native(SendReply<'a>),
    /// Of a remoting send.
    One(Stored),
}

impl Results<'_> {
    /// One by one.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Stored> + '_ {
        let (native, one) = match self {
            Self::Native(reply) => (Some(reply.results()), None),
            Self::One(stored) => (None, Some(*stored)),
        };
        let native = native.into_iter().flatten().map(|result| Stored {
            handle: result.handle,
            first_offset: result.queue_offset.get(),
            count: u64::from(result.count),
        });
        native.chain(one)
    }
}

/// What a pull gave.
pub enum Messages<'a> {
    /// Records of the log, batches among them.
    Records(Records<'a>),
    /// Messages in RocketMQ's layout, one behind the other.
    Stored(&'a [u8]),
}

/// One message of a pull.
#[derive(Clone, Copy)]
pub struct Read<'a> {
    /// Topic and queue id, where the message says them: those of a batch record are the queue's.
    pub place: Option<(&'a [u8], i32)>,
    /// Its offset.
    pub offset: u64,
    /// Its body.
    pub body: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Tells `on` each message from offset `from` on, and in words what cannot be read.
    pub fn each(self, from: u64, mut on: impl FnMut(Result<Read<'a>, String>)) {
        match self {
            Self::Records(records) => {
                for record in records {
                    match record {
                        Ok(record) => each_of_record(&record, from, &mut on),
                        Err(error) => on(Err(format!("after offset {from}: {error}"))),
                    }
                }
            }
            Self::Stored(bytes) => {
                for stored in iter_stored(bytes) {
                    on(stored.as_ref().map(read_of).map_err(ToString::to_string));
                }
            }
        }
    }
}

#[inline]
fn read_of<'a>(stored: &StoredMessage<'a>) -> Read<'a> {
    let parts = &stored.parts;
    Read { place: Some((parts.topic, parts.queue_id)), offset: parts.queue_offset.get(), body: parts.body }
}

#[inline]
fn each_of_record<'a>(record: &RecordView<'a>, from: u64, on: &mut impl FnMut(Result<Read<'a>, String>)) {
    match record.header.kind {
        RecordKind::MESSAGE => {
            on(StoredMessage::decode(record.payload).as_ref().map(read_of).map_err(ToString::to_string));
        }
        RecordKind::BATCH => match Batch::decode(record.payload) {
            Ok(batch) => {
                let first = batch.head.first_queue_offset.get();
                // A batch is given whole, also to a reader that asks for its middle.
                let entries = batch.entries().map(|entry| (first + u64::from(entry.index), entry.body));
                entries
                    .filter(|&(offset, _)| offset >= from)
                    .for_each(|(offset, body)| on(Ok(Read { place: None, offset, body })));
            }
            Err(error) => on(Err(error.to_string())),
        },
        kind => on(Err(format!("a record of {kind:?} in a pull"))),
    }
}
