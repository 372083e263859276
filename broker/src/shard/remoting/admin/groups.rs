//! Consumer groups, made, changed, removed and read by administrators (200, 225, 207, 201, 352).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::super::names::check_group;
use super::super::super::request::{Rejection, Response};
use super::super::{Call, Handled};
use crate::now::Now;
use crate::store::{ExponentialRetry, GroupConfig, GroupRecord, RetryPolicy};
use ringmq_proto::code::Code;
use ringmq_proto::remoting::admin::groups::{
    CustomizedRetryPolicy, DeleteGroup, ExponentialRetryPolicy, GetGroupConfig, GroupConfig as GroupBody,
    GroupConfigList, GroupConfigTable, GroupRetryPolicy,
};
use ringmq_proto::remoting::registration::DataVersion;
use ringmq_proto::remoting::{ExtFields, ExtHeader};

const EXPONENTIAL: &str = "EXPONENTIAL";
const CUSTOMIZED: &str = "CUSTOMIZED";

impl Shard {
    pub(super) fn update_group(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let body = GroupBody::decode(call.body())?;
        self.change_groups(now, connection, call, &[body])
    }

    pub(super) fn update_groups(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let list = GroupConfigList::decode(call.body())?;
        self.change_groups(now, connection, call, &list.group_config_list)
    }

    fn change_groups(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        groups: &[GroupBody],
    ) -> Handled {
        for group in groups {
            check_group(&group.group_name)?;
        }
        for group in groups {
            let appended = self.store.append_group_config(*now, &group.group_name, config_of(group)?)?;
            self.drafts[0].add(&appended);
        }
        self.respond_when_acknowledged(connection, call.token, &Response::Done);
        Ok(())
    }

    /// Removing what is not there is done.
    pub(super) fn remove_group(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = DeleteGroup::decode(&call.header.ext)?;
        check_group(request.group_name)?;
        if let Some(appended) = self.store.append_group_deletion(*now, request.group_name, request.removes_offsets())? {
            self.drafts[0].add(&appended);
        }
        self.respond_when_acknowledged(connection, call.token, &Response::Done);
        Ok(())
    }

    pub(super) fn all_groups(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let groups = self.store.groups_after("");
        let subscription_group_table: std::collections::BTreeMap<_, _> =
            groups.map(|group| (group.name.clone(), body_of(group))).collect();
        let changes: u64 = self.store.groups_after("").map(|group| group.version).sum();
        let data_version = DataVersion { counter: changes.cast_signed(), ..DataVersion::default() };
        let table = GroupConfigTable { data_version, subscription_group_table, ..GroupConfigTable::default() };
        self.answer_with(connection, call.token, ExtFields::new(), &table.encode());
        Ok(())
    }

    pub(super) fn one_group(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetGroupConfig::decode(&call.header.ext)?;
        let Some(group) = self.store.group(request.group) else {
            let remark = format!("No group in this broker. group:{}", request.group.escape_default());
            return Err(Rejection::because(Code::SUBSCRIPTION_GROUP_NOT_EXIST, remark).into());
        };
        let body = body_of(group).encode();
        self.answer_with(connection, call.token, ExtFields::new(), &body);
        Ok(())
    }
}

/// A body of the network as the store keeps it.
fn config_of(body: &GroupBody) -> Result<GroupConfig, Rejection> {
    let mut config = GroupConfig {
        consume_enabled: body.consume_enable,
        consume_from_min_enabled: body.consume_from_min_enable,
        consume_broadcast_enabled: body.consume_broadcast_enable,
        consume_message_orderly: body.consume_message_orderly.unwrap_or(false),
        notify_consumer_ids_changed_enabled: body.notify_consumer_ids_changed_enable,
        retry_queue_count: body.retry_queue_nums,
        retry_times_max: body.retry_max_times,
        broker_id: u64::try_from(body.broker_id).unwrap_or(0),
        broker_id_when_slow: u64::try_from(body.which_broker_when_consume_slowly).unwrap_or(0),
        sys_flag: body.group_sys_flag.unwrap_or(0),
        ..GroupConfig::default()
    };
    if let Some(minutes) = body.consume_timeout_minute {
        config.consume_timeout_minutes = minutes;
    }
    if let Some(policy) = &body.group_retry_policy {
        let unsigned = |ms: i64| u64::try_from(ms).unwrap_or(0);
        config.retry_policy = RetryPolicy {
            is_exponential: policy.policy_type == EXPONENTIAL,
            exponential: policy.exponential_retry_policy.as_ref().map(|policy| ExponentialRetry {
                initial_ms: unsigned(policy.initial),
                max_ms: unsigned(policy.max),
                multiplier: unsigned(policy.multiplier),
            }),
            customized_ms: policy
                .customized_retry_policy
                .as_ref()
                .map(|policy| policy.next.iter().copied().map(unsigned).collect()),
        };
    }
    for (key, value) in body.attributes.iter().flatten() {
        config.attributes.set(key, value)?;
    }
    Ok(config)
}

/// What the store keeps, as bodies say it.
fn body_of(group: &GroupRecord) -> GroupBody {
    let config = &group.config;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let policy = &config.retry_policy;
    GroupBody {
        attributes: Some(config.attributes.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        broker_id: signed(config.broker_id),
        consume_broadcast_enable: config.consume_broadcast_enabled,
        consume_enable: config.consume_enabled,
        consume_from_min_enable: config.consume_from_min_enabled,
        consume_message_orderly: Some(config.consume_message_orderly),
        consume_timeout_minute: Some(config.consume_timeout_minutes),
        group_name: group.name.clone(),
        group_retry_policy: Some(GroupRetryPolicy {
            customized_retry_policy: policy
                .customized_ms
                .as_ref()
                .map(|steps| CustomizedRetryPolicy { next: steps.iter().copied().map(signed).collect() }),
            exponential_retry_policy: policy.exponential.map(|exponential| ExponentialRetryPolicy {
                initial: signed(exponential.initial_ms),
                max: signed(exponential.max_ms),
                multiplier: signed(exponential.multiplier),
            }),
            policy_type: if policy.is_exponential { EXPONENTIAL } else { CUSTOMIZED }.to_owned(),
        }),
        group_sys_flag: Some(config.sys_flag),
        notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enabled,
        retry_max_times: config.retry_times_max,
        retry_queue_nums: config.retry_queue_count,
        subscription_data_set: None,
        which_broker_when_consume_slowly: signed(config.broker_id_when_slow),
    }
}
