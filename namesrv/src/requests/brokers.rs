//! What brokers tell and ask.

use ringmq_proto::remoting::namesrv::{
    BrokerHeartbeat, BrokerMemberGroup, BrokerMemberGroupBody, CHANGED, GetBrokerMemberGroup, NotifyMinBrokerIdChange,
    ORDER_TOPIC_NAMESPACE, QueryDataVersion, ZONE_NAME,
};
use ringmq_proto::remoting::registration::{
    DataVersion, RegisterBody, RegisterBroker, RegisterReply, UnregisterBroker,
};
use ringmq_proto::remoting::{ExtHeader, Header, lenient, request_code};

use super::{Answer, Failure, Request, success};
use crate::registry::{MinIdChange, Registered};
use crate::state::State;

pub(super) fn register(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let mut broker = RegisterBroker::decode(&request.header.ext)?;
    let asked_whole = broker.whole_table;
    if state.options.delete_with_registration {
        broker.whole_table = Some(true);
    }
    let body = RegisterBody::decode(&broker, request.header.version, request.body)?;
    let outcome =
        state.registry.register(request.now_ms, request.connection, &broker, &body).inspect_err(|refusal| {
            tracing::warn!(broker = broker.broker_name, addr = broker.broker_addr, %refusal, "registration refused");
        })?;
    if !outcome.superseded {
        state.registry.set_zone(broker.broker_name, request.header.ext.get(ZONE_NAME));
    }
    log_registered(&broker, &outcome);
    let order = state.options.return_order_config.then(|| state.kv.list(ORDER_TOPIC_NAMESPACE)).flatten();
    let mut answer = success(request, order.map(|table| table.encode()).unwrap_or_default());
    let master = outcome.master.as_ref();
    let reply = RegisterReply {
        ha_server_addr: master.map(|(_, ha_addr)| ha_addr.as_str()),
        master_addr: master.map(|(addr, _)| addr.as_str()),
        whole_table: asked_whole,
    };
    answer.header.ext = reply.to_ext().into_owned();
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

pub(super) fn unregister(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let broker = UnregisterBroker::decode(&request.header.ext)?;
    if let Some(gone) = state.registry.unregister(&broker) {
        tracing::info!(name = gone.broker_name, addr = gone.broker_addr, id = gone.broker_id, "broker unregistered");
    }
    Ok(success(request, Vec::new()))
}

pub(super) fn query_data_version(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let QueryDataVersion { broker_name, broker_addr, .. } = QueryDataVersion::decode(&request.header.ext)?;
    let asked: DataVersion = lenient::decode(request.body)?;
    let known = state.registry.beat(request.now_ms, request.connection, broker_name, broker_addr).flatten();
    let mut answer = success(request, known.map(|version| lenient::encode(&version)).unwrap_or_default());
    answer.header.ext.push(CHANGED, (known != Some(asked)).to_string());
    Ok(answer)
}

pub(super) fn heartbeat(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let BrokerHeartbeat { broker_name, broker_addr, .. } = BrokerHeartbeat::decode(&request.header.ext)?;
    // RocketMQ says 0 to strangers, too: they find out by 322.
    state.registry.beat(request.now_ms, request.connection, broker_name, broker_addr);
    Ok(success(request, Vec::new()))
}

pub(super) fn member_group(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let GetBrokerMemberGroup { cluster_name, broker_name } = GetBrokerMemberGroup::decode(&request.header.ext)?;
    let known = state.registry.members(broker_name);
    let broker_member_group = BrokerMemberGroup {
        broker_addrs: known.map(|broker| broker.broker_addrs).unwrap_or_default(),
        broker_name: broker_name.to_owned(),
        cluster: cluster_name.to_owned(),
    };
    Ok(success(request, BrokerMemberGroupBody { broker_member_group }.encode()))
}

/// The request (905, one-way) that tells brokers of a change.
pub(crate) fn min_id_request(change: &MinIdChange, opaque: i32) -> Header<'_> {
    let typed = NotifyMinBrokerIdChange {
        min_broker_id: Some(change.min_id),
        broker_name: Some(&change.broker_name),
        min_broker_addr: Some(&change.min_addr),
        offline_broker_addr: change.offline_addr.as_deref(),
        ha_broker_addr: change.ha_addr.as_deref(),
    };
    Header::request(request_code::NOTIFY_MIN_BROKER_ID_CHANGE, opaque).with_ext(&typed).oneway()
}
