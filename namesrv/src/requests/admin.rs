//! What administrators change.

use std::fmt::Write;

use ringmq_proto::remoting::namesrv::{
    ADD_TOPIC_COUNT, DeleteTopicInNamesrv, RegisterTopicInNamesrv, WIPE_TOPIC_COUNT, WritePermOfBroker,
};
use ringmq_proto::remoting::route::TopicRoute;
use ringmq_proto::remoting::{ExtHeader, request_code as code};

use super::{Answer, Failure, Request, success};
use crate::state::State;

pub(super) fn write_permission(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let name = WritePermOfBroker::decode(&request.header.ext)?.broker_name;
    let writable = request.header.code == code::ADD_WRITE_PERM_OF_BROKER;
    let topics = state.registry.set_writable(name, writable);
    tracing::info!(name, writable, topics, "write permission of a broker");
    let mut answer = success(request, Vec::new());
    answer.header.ext.push(if writable { ADD_TOPIC_COUNT } else { WIPE_TOPIC_COUNT }, topics.to_string());
    Ok(answer)
}

pub(super) fn delete_topic(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let DeleteTopicInNamesrv { topic, cluster_name } = DeleteTopicInNamesrv::decode(&request.header.ext)?;
    let registry = &mut state.registry;
    let (topic, cluster) = match cluster_name.filter(|name| !name.is_empty()) {
        // The tools of 4.9.8 put the two names into each other's place. RocketMQ then does nothing, and a topic that was
        // deleted stays listed.
        Some(name) if !registry.has_cluster(name) && registry.has_cluster(topic) => (name, Some(topic)),
        other => (topic, other),
    };
    let brokers = registry.delete_topic(topic, cluster);
    tracing::info!(topic, cluster, brokers, "topic deleted");
    Ok(success(request, Vec::new()))
}

pub(super) fn register_topic(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let topic = RegisterTopicInNamesrv::decode(&request.header.ext)?.topic;
    if !request.body.is_empty() {
        let route = TopicRoute::decode(request.body)?;
        let brokers = state.registry.register_topic(topic, &route.queue_datas)?;
        tracing::info!(topic, brokers, "topic registered");
    }
    Ok(success(request, Vec::new()))
}

pub(super) fn update_config(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let text = std::str::from_utf8(request.body).map_err(|_| Failure::NotText)?;
    state.options.update(text)?;
    tracing::info!(options = ?state.options, "options changed");
    Ok(success(request, Vec::new()))
}

pub(super) fn config(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let options = state.options.list().map(|(name, value)| (name.to_owned(), value.to_string()));
    let mut text = String::new();
    for (name, value) in options.iter().chain(&state.settings) {
        writeln!(text, "{name}={value}").expect("a string takes all");
    }
    Ok(success(request, text.into_bytes()))
}
