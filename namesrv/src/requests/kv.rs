//! The key-value configuration, asked and changed.

use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::namesrv::{GetKvList, KvConfigKey, KvConfigReply, PutKvConfig};

use super::{Answer, Failure, Request, success};
use crate::state::State;

pub(super) fn put(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let PutKvConfig { namespace, key, value } = PutKvConfig::decode(&request.header.ext)?;
    state.kv.put(namespace, key, value)?;
    tracing::info!(namespace, key, value, "configuration changed");
    Ok(success(request, Vec::new()))
}

pub(super) fn get(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let KvConfigKey { namespace, key } = KvConfigKey::decode(&request.header.ext)?;
    let missing = || Failure::NoKey { namespace: namespace.to_owned(), key: key.to_owned() };
    let value = Some(state.kv.get(namespace, key).ok_or_else(missing)?);
    let mut answer = success(request, Vec::new());
    answer.header.ext = KvConfigReply { value }.to_ext().into_owned();
    Ok(answer)
}

pub(super) fn delete(state: &mut State, request: Request<'_>) -> Result<Answer, Failure> {
    let KvConfigKey { namespace, key } = KvConfigKey::decode(&request.header.ext)?;
    if state.kv.delete(namespace, key) {
        tracing::info!(namespace, key, "configuration removed");
    }
    Ok(success(request, Vec::new()))
}

pub(super) fn list(state: &State, request: Request<'_>) -> Result<Answer, Failure> {
    let GetKvList { namespace } = GetKvList::decode(&request.header.ext)?;
    let table = state.kv.list(namespace).ok_or_else(|| Failure::NoNamespace(namespace.to_owned()))?;
    Ok(success(request, table.encode()))
}
