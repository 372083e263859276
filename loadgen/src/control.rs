//! What a run asks brokers beside the messages: create topics, find the ends of queues. Blocking, one connection each time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::Dialect;
use crate::cluster::{Broker, Cluster, NameServers};
use crate::drive::opener::Opener;
use crate::drive::wire::{Heard, Refusal, Wire};
use crate::failure::Failure;

/// How long one answer of a broker may take. The creation of a topic waits for sibling shards.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the name servers may take to hear of a topic that was created.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a broker that is away may take to come back when the ends of its queues are asked for.
const RETURN_TIMEOUT: Duration = Duration::from_secs(60);

/// First and end offset of a queue.
pub type Ends = (u64, u64);

/// A blocking connection.
struct Call {
    stream: TcpStream,
    wire: Wire,
}

impl Call {
    fn open(address: SocketAddr, dialect: Dialect) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut call = Self { stream, wire: Wire::new(dialect) };
        while !call.wire.is_ready() {
            call.exchange(|_| {})?;
        }
        Ok(call)
    }

    /// Sends the output, receives once.
    fn exchange(&mut self, on: impl FnMut(Heard<'_>)) -> std::io::Result<()> {
        let size = self.wire.output().len();
        self.stream.write_all(self.wire.output())?;
        self.wire.consume(size);
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            // A read with a timeout may be cut short by anything: the caller asks again for what is missing.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
            Ok(size) => self.wire.received(&buffer[..size], on).map_err(std::io::Error::other),
        }
    }
}

/// Finds the run's queues; with `create` and so many queues a shard, topics that nobody knows are created on every master.
pub fn find(names: &NameServers, dialect: Dialect, topics: &[String], create: Option<u32>) -> Result<Cluster, Failure> {
    let mut missing = Vec::new();
    for topic in topics {
        if names.route(topic)?.is_none() {
            missing.push(topic.as_str());
        }
    }
    if !missing.is_empty() {
        let Some(queue_count) = create else {
            return Err(Failure::failed(format!("no name server knows the topic {}", missing[0])));
        };
        let masters = names.masters()?;
        if masters.is_empty() {
            return Err(Failure::failed("the name servers know no broker: is one running and registered?"));
        }
        for broker in &masters {
            create_topics(broker, dialect, &missing, queue_count)?;
        }
        await_routes(names, &missing, masters.len())?;
    }
    let mut cluster = Cluster::default();
    for (index, topic) in (0u32..).zip(topics) {
        let route = names.route(topic)?.ok_or_else(|| Failure::failed(format!("the topic {topic} has gone")))?;
        cluster.add(index, &route)?;
    }
    cluster.interleave();
    if cluster.queues.is_empty() {
        return Err(Failure::failed(format!("the topic {} has no queue on any master", topics[0])));
    }
    Ok(cluster)
}

fn create_topics(broker: &Broker, dialect: Dialect, topics: &[&str], queue_count: u32) -> Result<(), Failure> {
    let failed = |reason: String| Failure::failed(format!("cannot create the topic on {}: {reason}", broker.name));
    let mut call = Call::open(broker.address, dialect).map_err(|error| failed(error.to_string()))?;
    let mut refusal = None;
    for topic in topics {
        call.wire.create_topic(topic, queue_count).map_err(|refusal| match refusal {
            Refusal::Full => failed("too many requests at once".into()),
            Refusal::Unusable(reason) => failed(reason),
        })?;
        while call.wire.in_flight_count() > 0 {
            let exchanged = call.exchange(|heard| {
                if let Heard::Failed { code, remark, .. } = heard {
                    refusal = Some(format!("code {code}: {remark}"));
                }
            });
            exchanged.map_err(|error| failed(error.to_string()))?;
        }
        if let Some(reason) = refusal {
            return Err(failed(reason));
        }
    }
    Ok(())
}

/// Waits until the name servers know each topic on all brokers.
fn await_routes(names: &NameServers, topics: &[&str], broker_count: usize) -> Result<(), Failure> {
    let deadline = Instant::now() + ROUTE_TIMEOUT;
    for topic in topics {
        while names.route(topic)?.is_none_or(|route| route.queue_datas.len() < broker_count) {
            if Instant::now() > deadline {
                return Err(Failure::failed(format!(
                    "the name servers did not hear of the topic {topic} on all brokers"
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// First and end offset of every queue, in their order. Waits for brokers that are away.
pub fn ends(cluster: &Arc<Cluster>, dialect: Dialect, topics: &Arc<[String]>) -> Result<Vec<Ends>, Failure> {
    let mut ends = vec![(0, 0); cluster.queues.len()];
    for (index, broker) in (0u32..).zip(&cluster.brokers) {
        let queues: Vec<u32> = (0u32..)
            .zip(&cluster.queues)
            .filter(|(_, queue)| queue.broker == index)
            .map(|(number, _)| number)
            .collect();
        let deadline = Instant::now() + RETURN_TIMEOUT;
        while let Err(error) = ends_of(cluster, topics, (broker, dialect), &queues, &mut ends) {
            if Instant::now() > deadline {
                return Err(Failure::failed(format!(
                    "cannot ask {} ({}) for its queues: {error}",
                    broker.name, broker.address
                )));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(ends)
}

fn ends_of(
    cluster: &Arc<Cluster>,
    topics: &Arc<[String]>,
    (broker, dialect): (&Broker, Dialect),
    queues: &[u32],
    ends: &mut [Ends],
) -> std::io::Result<()> {
    // As many at once as a connection may have open.
    for part in queues.chunks(1 << 14) {
        let mut call = Call::open(broker.address, dialect)?;
        let mut opener = Opener::new(Arc::clone(cluster), Arc::clone(topics), part.to_vec());
        let mut refusal = None;
        while !opener.is_open() {
            opener.pump(&mut call.wire).map_err(std::io::Error::other)?;
            call.exchange(|heard| match heard {
                Heard::Opened { slot, handle, ends: of_queue } => {
                    let index = opener.opened(slot, handle);
                    ends[part[index] as usize] = of_queue;
                }
                Heard::Failed { code, remark, .. } => refusal = Some(format!("code {code}: {remark}")),
                _ => {}
            })?;
            if let Some(reason) = refusal {
                return Err(std::io::Error::other(reason));
            }
        }
    }
    Ok(())
}
