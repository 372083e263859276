//! From a request to its answer. No socket, no clock: the server brings the time and the connection.

use ringmq_proto::code::Code;
use ringmq_proto::remoting::registration::{RegisterBody, RegisterBroker, RegisterReply, UnregisterBroker};
use ringmq_proto::remoting::route::GetRoute;
use ringmq_proto::remoting::{BodyError, ExtHeader, FieldError, Header, request_code};

use crate::registry::{ConnectionId, Refusal, Registered, Registry};

/// What goes back, whatever the serialization type.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Code, remark and fields, under the request's opaque.
    pub header: Header<'static>,
    /// The body; often empty.
    pub body: Vec<u8>,
}

/// Why a request is answered with an error.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    // RocketMQ's own words, which people search for.
    #[error(
        "No topic route info in name server for the topic: {0}\nSee http://rocketmq.apache.org/docs/faq/ for further details."
    )]
    NoRoute(String),
    #[error(" request type {0} not supported")]
    NotSupported(i32),
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Field(_) | Self::Body(_) => Code::SYSTEM_ERROR,
            Self::Refused(Refusal::Parameter { .. }) => Code::INVALID_PARAMETER,
            Self::Refused(Refusal::Full { .. }) => Code::SYSTEM_BUSY,
            Self::NoRoute(_) => Code::TOPIC_NOT_EXIST,
            Self::NotSupported(_) => Code::REQUEST_CODE_NOT_SUPPORTED,
        }
    }
}

/// Carries out one request that came over `connection`. A one-way request is carried out, too; that its answer is not
/// sent is the caller's business.
pub fn answer(
    registry: &mut Registry,
    now_ms: u64,
    connection: ConnectionId,
    header: &Header<'_>,
    body: &[u8],
) -> Answer {
    let done = match header.code {
        request_code::GET_ROUTEINFO_BY_TOPIC => get_route(registry, header),
        request_code::GET_BROKER_CLUSTER_INFO => Ok(success(header, registry.cluster_info().encode())),
        request_code::REGISTER_BROKER => register(registry, now_ms, connection, header, body),
        request_code::UNREGISTER_BROKER => unregister(registry, header),
        other => Err(Failure::NotSupported(other)),
    };
    done.unwrap_or_else(|failure| Answer {
        header: Header::response(failure.code(), header.opaque).with_remark(failure.to_string()),
        body: Vec::new(),
    })
}

fn success(header: &Header<'_>, body: Vec<u8>) -> Answer {
    Answer { header: Header::response(Code::SUCCESS, header.opaque), body }
}

fn get_route(registry: &Registry, header: &Header<'_>) -> Result<Answer, Failure> {
    let topic = GetRoute::decode(&header.ext)?.topic;
    let route = registry.route(topic).ok_or_else(|| Failure::NoRoute(topic.to_owned()))?;
    Ok(success(header, route.encode()))
}

fn register(
    registry: &mut Registry,
    now_ms: u64,
    connection: ConnectionId,
    header: &Header<'_>,
    body: &[u8],
) -> Result<Answer, Failure> {
    let broker = RegisterBroker::decode(&header.ext)?;
    let body = RegisterBody::decode(&broker, header.version, body)?;
    let outcome = registry.register(now_ms, connection, &broker, &body).inspect_err(|refusal| {
        tracing::warn!(broker = broker.broker_name, addr = broker.broker_addr, %refusal, "registration refused");
    })?;
    log_registered(&broker, &outcome);
    let mut answer = success(header, Vec::new());
    if let Some((master_addr, ha_server_addr)) = &outcome.master {
        let reply = RegisterReply {
            ha_server_addr: Some(ha_server_addr),
            master_addr: Some(master_addr),
            whole_table: None,
        };
        answer.header.ext = reply.to_ext().into_owned();
    }
    Ok(answer)
}

fn log_registered(broker: &RegisterBroker<'_>, outcome: &Registered) {
    let RegisterBroker { broker_name: name, broker_addr: addr, broker_id: id, .. } = broker;
    if outcome.superseded {
        tracing::warn!(name, addr, id, "another address holds this broker id in a later term: not registered");
    } else if outcome.first {
        tracing::info!(name, addr, id, topics = outcome.topics_changed, "broker registered");
    } else if outcome.topics_changed + outcome.topics_removed > 0 {
        let Registered { topics_changed: changed, topics_removed: removed, .. } = outcome;
        tracing::info!(name, addr, id, changed, removed, "topics of a broker");
    }
    if outcome.topics_refused > 0 {
        tracing::warn!(
            name,
            addr,
            count = outcome.topics_refused,
            "topics left out: name or queue counts out of range"
        );
    }
}

fn unregister(registry: &mut Registry, header: &Header<'_>) -> Result<Answer, Failure> {
    let broker = UnregisterBroker::decode(&header.ext)?;
    if let Some(gone) = registry.unregister(&broker) {
        tracing::info!(name = gone.broker_name, addr = gone.broker_addr, id = gone.broker_id, "broker unregistered");
    }
    Ok(success(header, Vec::new()))
}
