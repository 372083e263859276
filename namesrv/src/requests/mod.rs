//! From a request to its answer. No socket, no clock: the server brings the time and the connection.

mod admin;
mod brokers;
mod kv;
mod routes;

pub(crate) use brokers::min_id_request;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::{BodyError, FieldError, Header, request_code as code};

use crate::kv::Full;
use crate::options::OptionError;
use crate::registry::{ConnectionId, Refusal};
use crate::state::State;

/// What goes back, whatever the serialization type.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Code, remark and fields, under the request's opaque.
    pub header: Header<'static>,
    /// The body; often empty.
    pub body: Vec<u8>,
}

/// A request, with where and when it came.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Time since the server was made, in ms.
    pub now_ms: u64,
    /// Where it came from.
    pub connection: ConnectionId,
    /// Its header.
    pub header: &'a Header<'a>,
    /// Its body.
    pub body: &'a [u8],
}

/// Why a request is answered with an error. Texts are RocketMQ's where it has one.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("the body is no UTF-8")]
    NotText,
    #[error("disable")]
    Disabled,
    #[error(
        "No topic route info in name server for the topic: {0}\nSee http://rocketmq.apache.org/docs/faq/ for further details."
    )]
    NoRoute(String),
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoKey { namespace: String, key: String },
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    #[error(" request type {0} not supported")]
    NotSupported(i32),
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Field(_) | Self::Body(_) | Self::NotText | Self::Disabled => Code::SYSTEM_ERROR,
            Self::Refused(Refusal::Parameter { .. }) => Code::INVALID_PARAMETER,
            Self::Refused(Refusal::Full { .. }) | Self::Full(_) => Code::SYSTEM_BUSY,
            Self::Option(OptionError::Unknown(_)) => Code::NO_PERMISSION,
            Self::Option(OptionError::Value(_) | OptionError::Line(_)) => Code::SYSTEM_ERROR,
            Self::NoRoute(_) => Code::TOPIC_NOT_EXIST,
            Self::NoKey { .. } | Self::NoNamespace(_) => Code::QUERY_NOT_FOUND,
            Self::NotSupported(_) => Code::REQUEST_CODE_NOT_SUPPORTED,
        }
    }
}

/// Carries out one request. A one-way request is carried out, too; that its answer is not sent is the caller's business, as
/// is saving a changed [`State::kv`] before the answer goes out.
pub fn answer(state: &mut State, request: Request<'_>) -> Answer {
    let opaque = request.header.opaque;
    carry_out(state, request).unwrap_or_else(|failure| Answer {
        header: Header::response(failure.code(), opaque).with_remark(failure.to_string()),
        body: Vec::new(),
    })
}

fn carry_out(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    match request.header.code {
        code::GET_ROUTEINFO_BY_TOPIC => routes::route(state, request),
        code::GET_BROKER_CLUSTER_INFO => routes::cluster_info(state, request),
        code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => routes::all_topics(state, request),
        code::GET_TOPICS_BY_CLUSTER => routes::topics_of_cluster(state, request),
        code::GET_SYSTEM_TOPIC_LIST_FROM_NS => routes::system_topics(state, request),
        code::GET_UNIT_TOPIC_LIST | code::GET_HAS_UNIT_SUB_TOPIC_LIST | code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
            routes::unit_topics(state, request)
        }

        code::REGISTER_BROKER => brokers::register(state, request),
        code::UNREGISTER_BROKER => brokers::unregister(state, request),
        code::QUERY_DATA_VERSION => brokers::query_data_version(state, request),
        code::BROKER_HEARTBEAT => brokers::heartbeat(state, request),
        code::GET_BROKER_MEMBER_GROUP => brokers::member_group(state, request),

        code::PUT_KV_CONFIG => kv::put(state, request),
        code::GET_KV_CONFIG => kv::get(state, request),
        code::DELETE_KV_CONFIG => kv::delete(state, request),
        code::GET_KVLIST_BY_NAMESPACE => kv::list(state, request),

        code::WIPE_WRITE_PERM_OF_BROKER | code::ADD_WRITE_PERM_OF_BROKER => admin::write_permission(state, request),
        code::DELETE_TOPIC_IN_NAMESRV => admin::delete_topic(state, request),
        code::REGISTER_TOPIC_IN_NAMESRV => admin::register_topic(state, request),
        code::UPDATE_NAMESRV_CONFIG => admin::update_config(state, request),
        code::GET_NAMESRV_CONFIG => admin::config(state, request),
        other => Err(Failure::NotSupported(other)),
    }
}

fn success(request: Request<'_>, body: Vec<u8>) -> Answer {
    Answer { header: Header::response(Code::SUCCESS, request.header.opaque), body }
}
