//! Where the queues are: routes from the name servers, by remoting 105 and 106, on plain blocking sockets. A run asks a few times
//! and then knows; nothing here is on a message's path.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::route::{ClusterInfo, GetRoute, MASTER_ID, TopicRoute};
use ringmq_proto::remoting::{Header, SerializeType, encode_frame, request_code, split_frame};

use crate::failure::Failure;

/// How long one name server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Queues of one run. When reached: exit code 2. (The generator keeps about 100 bytes for each.)
pub const QUEUE_COUNT_MAX: usize = 4_000_000;

/// One master broker (a shard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// One message queue of the run; its index in [`Cluster::queues`] is how the run names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Index into [`Cluster::brokers`].
    pub broker: u32,
    /// Index into the run's topics.
    pub topic: u32,
    /// RocketMQ's queue id: 0 and up, within topic and broker.
    pub number: i32,
}

/// The brokers and queues of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Every broker that has a queue of the run, in order of name.
    pub brokers: Vec<Broker>,
    /// Every queue of the run. Neighbours are on different brokers, so that a few connections reach all.
    pub queues: Vec<Queue>,
}

/// The name servers of the cluster.
#[derive(Clone, Debug)]
pub struct NameServers {
    addresses: Vec<String>,
}

impl std::fmt::Display for NameServers {
    /// `host:port;host:port`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.addresses.join(";"))
    }
}

impl NameServers {
    /// Reads `host:port;host:port`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let addresses: Vec<String> =
            text.split([';', ',']).map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect();
        let sound = |address: &String| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if addresses.is_empty() || !addresses.iter().all(sound) {
            return Err(Failure::unusable(format!("--namesrv {text}: expected host:port;host:port")));
        }
        Ok(Self { addresses })
    }

    /// All masters of the cluster, in order of name.
    pub fn masters(&self) -> Result<Vec<Broker>, Failure> {
        let header = Header::request(request_code::GET_BROKER_CLUSTER_INFO, 1);
        let body = self.ask(&header)?.ok_or_else(|| Failure::failed("the name servers know no cluster"))?;
        let info =
            ClusterInfo::decode(&body).map_err(|error| Failure::failed(format!("a name server's answer: {error}")))?;
        let masters =
            info.broker_addr_table.iter().filter_map(|(name, data)| Some((name, data.broker_addrs.get(&MASTER_ID)?)));
        masters.map(|(name, address)| Ok(Broker { name: name.clone(), address: resolve(address)? })).collect()
    }

    /// The route of a topic; `None` when no name server knows it.
    pub fn route(&self, topic: &str) -> Result<Option<TopicRoute>, Failure> {
        let fields = GetRoute { topic, accept_standard_json_only: Some(true) };
        let header = Header::request(request_code::GET_ROUTEINFO_BY_TOPIC, 1).with_ext(&fields);
        let Some(body) = self.ask(&header)? else { return Ok(None) };
        let route =
            TopicRoute::decode(&body).map_err(|error| Failure::failed(format!("the route of {topic}: {error}")))?;
        Ok(Some(route))
    }

    /// The body that the first answering server gives; `None` when those that answer do not know.
    fn ask(&self, header: &Header<'_>) -> Result<Option<Vec<u8>>, Failure> {
        let mut reason = String::from("no name server");
        let mut unknown = false;
        for address in &self.addresses {
            match ask_one(address, header) {
                Ok((Code::SUCCESS, body)) => return Ok(Some(body)),
                Ok((Code::TOPIC_NOT_EXIST, _)) => unknown = true,
                Ok((code, _)) => reason = format!("name server {address} answered code {}", code.get()),
                Err(error) => reason = format!("name server {address}: {error}"),
            }
        }
        if unknown { Ok(None) } else { Err(Failure::failed(reason)) }
    }
}

fn ask_one(address: &str, header: &Header<'_>) -> std::io::Result<(Code, Vec<u8>)> {
    let bad = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    let target = address.to_socket_addrs()?.next().ok_or_else(|| bad("no such host".into()))?;
    let mut stream = TcpStream::connect_timeout(&target, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut request = Vec::new();
    encode_frame(&mut request, SerializeType::Json, header, &[]);
    stream.write_all(&request)?;
    let (mut received, mut chunk) = (Vec::new(), vec![0u8; 64 << 10]);
    loop {
        if let Some((frame, _)) =
            split_frame(&received, FRAME_SIZE_BYTES_MAX).map_err(|error| bad(error.to_string()))?
        {
            let reply = frame.decode_header().map_err(|error| bad(error.to_string()))?;
            return Ok((reply.response_code(), frame.body.to_vec()));
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(size) => received.extend_from_slice(&chunk[..size]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let mut found =
        address.to_socket_addrs().map_err(|error| Failure::failed(format!("broker address {address}: {error}")))?;
    found.next().ok_or_else(|| Failure::failed(format!("broker address {address} names no host")))
}

impl Cluster {
    /// Adds the queues of topic number `topic` that `route` names and that can be read and written.
    pub fn add(&mut self, topic: u32, route: &TopicRoute) -> Result<(), Failure> {
        for data in &route.queue_datas {
            let master = route.broker_datas.iter().find(|broker| broker.broker_name == data.broker_name);
            let Some(address) = master.and_then(|broker| broker.broker_addrs.get(&MASTER_ID)) else { continue };
            let broker = self.broker(&data.broker_name, address)?;
            let count = data.write_queue_nums.max(data.read_queue_nums).max(0);
            self.queues.extend((0..count).map(|number| Queue { broker, topic, number }));
        }
        if self.queues.len() > QUEUE_COUNT_MAX {
            return Err(Failure::unusable(format!("more than {QUEUE_COUNT_MAX} queues in one run")));
        }
        Ok(())
    }

    fn broker(&mut self, name: &str, address: &str) -> Result<u32, Failure> {
        let index = match self.brokers.iter().position(|broker| broker.name == name) {
            Some(index) => index,
            None => {
                self.brokers.push(Broker { name: name.to_owned(), address: resolve(address)? });
                self.brokers.len() - 1
            }
        };
        Ok(u32::try_from(index).expect("few brokers"))
    }

    /// Orders the queues by number, then topic, then broker: neighbours are on different brokers.
    pub fn interleave(&mut self) {
        self.queues.sort_by_key(|queue| (queue.number, queue.topic, queue.broker));
    }
}

#[cfg(test)]
mod tests {
    use ringmq_proto::remoting::route::{BrokerData, QueueData};

    use super::*;

    #[test]
    fn every_queue_of_every_master_is_found_and_slaves_alone_are_not() {
        let broker = |name: &str, id: i64, port: u16| BrokerData {
            broker_name: name.into(),
            broker_addrs: [(id, format!("127.0.0.1:{port}"))].into(),
            ..BrokerData::default()
        };
        let queues = |name: &str, count: i32| QueueData {
            broker_name: name.into(),
            perm: 6,
            read_queue_nums: count,
            write_queue_nums: count,
            ..QueueData::default()
        };
        let route = TopicRoute {
            broker_datas: vec![broker("a", 0, 1), broker("b", 0, 2), broker("c", 1, 3)],
            queue_datas: vec![queues("a", 2), queues("b", 2), queues("c", 2)],
            ..TopicRoute::default()
        };
        let mut cluster = Cluster::default();
        cluster.add(0, &route).expect("route");
        cluster.interleave();
        let order: Vec<(u32, i32)> = cluster.queues.iter().map(|queue| (queue.broker, queue.number)).collect();
        assert_eq!(order, [(0, 0), (1, 0), (0, 1), (1, 1)]);
        assert_eq!(cluster.brokers[1].address.port(), 2);
    }

    #[test]
    fn name_servers_are_given_as_rocketmq_does() {
        assert_eq!(NameServers::parse("a:1;b:2").expect("two").addresses.len(), 2);
        for bad in ["", "a", "a:x", ";"] {
            assert!(NameServers::parse(bad).is_err(), "{bad}");
        }
    }
}
