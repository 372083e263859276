//! Who has copies (907).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::{Call, Handled};
use ringmq_proto::remoting::ExtFields;
use ringmq_proto::remoting::admin::settings::HaRuntimeInfo;

impl Shard {
    /// A master without slaves: it alone has what it promised.
    pub(super) fn replicas(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let info = HaRuntimeInfo {
            master: true,
            master_commit_log_max_offset: self.store.positions().visible().get().cast_signed(),
            ..HaRuntimeInfo::default()
        };
        self.answer_with(connection, call.token, ExtFields::new(), &info.encode());
        Ok(())
    }
}
