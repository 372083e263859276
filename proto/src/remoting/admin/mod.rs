//! What administrators (mqadmin, the dashboard) ask a broker, in families: [`topics`], [`groups`], [`clients`] (who is
//! connected), [`progress`] (offsets and rates), [`offsets`] (reset, clone, replicas' copies), [`settings`] (configuration and
//! figures), [`assignment`] (division of queues by the broker).

pub mod assignment;
pub mod clients;
pub mod groups;
pub mod offsets;
pub mod progress;
pub mod settings;
pub mod topics;
