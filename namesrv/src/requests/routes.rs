//! What clients and administrators ask about topics and brokers.

use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::namesrv::{GetTopicsByCluster, ORDER_TOPIC_NAMESPACE, TopicList, ZONE_MODE, ZONE_NAME};
use ringmq_proto::remoting::request_code as code;
use ringmq_proto::remoting::route::GetRoute;

use super::{Answer, Failure, Request, success};
use crate::registry::lookup::{TopicFilter, keep_zone, show_acting_masters};
use crate::state::State;

pub(super) fn route(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let header = GetRoute::decode(&request.header.ext)?;
    let mut route = state.registry.route(header.topic).ok_or_else(|| Failure::NoRoute(header.topic.to_owned()))?;
    if state.options.acting_master {
        show_acting_masters(&mut route);
    }
    if state.options.order_message {
        route.order_topic_conf = state.kv.get(ORDER_TOPIC_NAMESPACE, header.topic).map(str::to_owned);
    }
    let is_zonal = request.header.ext.get(ZONE_MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("true"));
    if let Some(zone) = request.header.ext.get(ZONE_NAME).filter(|zone| is_zonal && !zone.is_empty()) {
        keep_zone(&mut route, zone);
    }
    let standard_only = header.accept_standard_json_only == Some(true);
    Ok(success(request, route.encode_for(request.header.version, standard_only)))
}

pub(super) fn cluster_info(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    Ok(success(request, state.registry.cluster_info().encode()))
}

pub(super) fn all_topics(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    if state.options.all_topic_list { list(state, request, TopicFilter::All) } else { Err(Failure::Disabled) }
}

pub(super) fn topics_of_cluster(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let cluster = GetTopicsByCluster::decode(&request.header.ext)?.cluster;
    list(state, request, TopicFilter::Cluster(cluster))
}

pub(super) fn unit_topics(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let filter = match request.header.code {
        code::GET_UNIT_TOPIC_LIST => TopicFilter::Unit,
        code::GET_HAS_UNIT_SUB_TOPIC_LIST => TopicFilter::UnitSubscribed,
        _ => TopicFilter::UnitSubscribedOnly,
    };
    list(state, request, filter)
}

pub(super) fn system_topics(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let (topic_list, broker_addr) = state.registry.system_topic_names();
    Ok(success(request, TopicList { broker_addr, topic_list }.encode()))
}

fn list(state: &State, request: Request<'_>, filter: TopicFilter<'_>) -> Result<Answer, Failure> {
    let topic_list = state.registry.topic_names(filter);
    Ok(success(request, TopicList { broker_addr: None, topic_list }.encode()))
}
