//! Request codes of RocketMQ, those of clients, brokers, name servers and administrators.

macro_rules! request_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub const $name: i32 = $code;)*

        /// The name of a code, for logs and metrics.
        pub const fn name(code: i32) -> Option<&'static str> {
            match code {
                $($code => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

request_codes! {
    // Name server: clients and administrators.
    /// Set a key of a name server's configuration.
    PUT_KV_CONFIG = 100;
    /// Read a key of a name server's configuration.
    GET_KV_CONFIG = 101;
    /// Remove a key of a name server's configuration.
    DELETE_KV_CONFIG = 102;
    /// Where a topic is ([`super::route::GetRoute`]).
    GET_ROUTEINFO_BY_TOPIC = 105;
    /// All brokers and clusters ([`super::route::ClusterInfo`]).
    GET_BROKER_CLUSTER_INFO = 106;
    /// Forbid writing on all topics of a broker name.
    WIPE_WRITE_PERM_OF_BROKER = 205;
    /// Names of all topics.
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206;
    /// Forget a topic.
    DELETE_TOPIC_IN_NAMESRV = 216;
    /// Register a topic by its route (5.x).
    REGISTER_TOPIC_IN_NAMESRV = 217;
    /// All keys of a namespace.
    GET_KVLIST_BY_NAMESPACE = 219;
    /// Names of the topics of a cluster.
    GET_TOPICS_BY_CLUSTER = 224;
    /// Cluster and broker names, as the system's topics.
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304;
    /// Topics of units.
    GET_UNIT_TOPIC_LIST = 311;
    /// Topics that units subscribe to.
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312;
    /// Topics that units subscribe to and that are no unit topics.
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313;
    /// Change a name server's configuration.
    UPDATE_NAMESRV_CONFIG = 318;
    /// Read a name server's configuration.
    GET_NAMESRV_CONFIG = 319;
    /// Allow writing again on all topics of a broker name.
    ADD_WRITE_PERM_OF_BROKER = 327;

    // Name server: brokers.
    /// Register a broker and its topics ([`super::registration::RegisterBroker`]).
    REGISTER_BROKER = 103;
    /// Unregister a broker ([`super::registration::UnregisterBroker`]).
    UNREGISTER_BROKER = 104;
    /// Compare the version of a broker's topics.
    QUERY_DATA_VERSION = 322;
    /// All replicas of a broker name.
    GET_BROKER_MEMBER_GROUP = 901;
    /// A small sign of life between registrations (5.x).
    BROKER_HEARTBEAT = 904;
    /// To brokers: the lowest living id has changed.
    NOTIFY_MIN_BROKER_ID_CHANGE = 905;

    // Broker: producers.
    /// Send one message, long field names.
    SEND_MESSAGE = 10;
    /// A client leaves.
    UNREGISTER_CLIENT = 35;
    /// A client lives, with its groups and subscriptions.
    HEART_BEAT = 34;
    /// Commit or roll a transaction back.
    END_TRANSACTION = 37;
    /// Would these subscriptions be understood?
    CHECK_CLIENT_CONFIG = 46;
    /// Send one message, short field names.
    SEND_MESSAGE_V2 = 310;
    /// Send a batch to one queue.
    SEND_BATCH_MESSAGE = 320;
    /// Answer a request-reply message, long field names.
    SEND_REPLY_MESSAGE = 324;
    /// Answer a request-reply message, short field names.
    SEND_REPLY_MESSAGE_V2 = 325;
    /// Take a timed message back (5.x).
    RECALL_MESSAGE = 370;

    // Broker: consumers.
    /// Messages of one queue.
    PULL_MESSAGE = 11;
    /// Messages by key.
    QUERY_MESSAGE = 12;
    /// A group's offset in a queue.
    QUERY_CONSUMER_OFFSET = 14;
    /// Commit a group's offset in a queue.
    UPDATE_CONSUMER_OFFSET = 15;
    /// The first offset of a time.
    SEARCH_OFFSET_BY_TIMESTAMP = 29;
    /// Behind the last message of a queue.
    GET_MAX_OFFSET = 30;
    /// The first message of a queue.
    GET_MIN_OFFSET = 31;
    /// Store time of the first message of a queue.
    GET_EARLIEST_MSG_STORETIME = 32;
    /// One message by its position.
    VIEW_MESSAGE_BY_ID = 33;
    /// Deliver a message again later.
    CONSUMER_SEND_MSG_BACK = 36;
    /// Client ids of a group.
    GET_CONSUMER_LIST_BY_GROUP = 38;
    /// Lock queues for orderly consumption.
    LOCK_BATCH_MQ = 41;
    /// Give such locks back.
    UNLOCK_BATCH_MQ = 42;
    /// Messages of one queue for a consumer without a group of listeners (5.x).
    LITE_PULL_MESSAGE = 361;
    /// Let the broker divide the queues (5.x).
    QUERY_ASSIGNMENT = 400;
    /// Choose pull or pop for a group (5.x).
    SET_MESSAGE_REQUEST_MODE = 401;
    /// Take messages of any queue for a time.
    POP_MESSAGE = 200_050;
    /// Acknowledge a popped message.
    ACK_MESSAGE = 200_051;
    /// Look at messages without taking them.
    PEEK_MESSAGE = 200_052;
    /// Change how long a popped message stays invisible.
    CHANGE_MESSAGE_INVISIBLETIME = 200_053;
    /// Wait until there is something to pop.
    NOTIFICATION = 200_054;
    /// How many polls are waiting.
    POLLING_INFO = 200_055;
    /// Undo a pop.
    POP_ROLLBACK = 200_056;
    /// Acknowledge several popped messages.
    BATCH_ACK_MESSAGE = 200_151;

    // Broker to client.
    /// What became of this half message?
    CHECK_TRANSACTION_STATE = 39;
    /// The members of a group changed.
    NOTIFY_CONSUMER_IDS_CHANGED = 40;
    /// Go on at these offsets.
    RESET_CONSUMER_CLIENT_OFFSET = 220;
    /// Which offsets are you at?
    GET_CONSUMER_STATUS_FROM_CLIENT = 221;
    /// How are you, consumer?
    GET_CONSUMER_RUNNING_INFO = 307;
    /// Consume this message now.
    CONSUME_MESSAGE_DIRECTLY = 309;
    /// The answer to a request-reply message.
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326;

    // Broker: administrators and replicas.
    /// Create or change a topic.
    UPDATE_AND_CREATE_TOPIC = 17;
    /// Create or change several topics (5.x).
    UPDATE_AND_CREATE_TOPIC_LIST = 18;
    /// All topics of a broker.
    GET_ALL_TOPIC_CONFIG = 21;
    /// Change a broker's configuration.
    UPDATE_BROKER_CONFIG = 25;
    /// Read a broker's configuration.
    GET_BROKER_CONFIG = 26;
    /// A broker's figures.
    GET_BROKER_RUNTIME_INFO = 28;
    /// All groups' offsets.
    GET_ALL_CONSUMER_OFFSET = 43;
    /// Progress of the delay levels.
    GET_ALL_DELAY_OFFSET = 45;
    /// Create or change a group.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200;
    /// All groups.
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201;
    /// Offsets of a topic's queues.
    GET_TOPIC_STATS_INFO = 202;
    /// Connections of a consumer group.
    GET_CONSUMER_CONNECTION_LIST = 203;
    /// Connections of a producer group.
    GET_PRODUCER_CONNECTION_LIST = 204;
    /// Remove a group.
    DELETE_SUBSCRIPTIONGROUP = 207;
    /// A group's progress.
    GET_CONSUME_STATS = 208;
    /// Remove a topic.
    DELETE_TOPIC_IN_BROKER = 215;
    /// Reset a group's offsets.
    INVOKE_BROKER_TO_RESET_OFFSET = 222;
    /// Ask a group's clients for their offsets.
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223;
    /// Create or change several groups (5.x).
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225;
    /// Groups that consume a topic.
    QUERY_TOPIC_CONSUME_BY_WHO = 300;
    /// Times between which a group has consumed.
    QUERY_CONSUME_TIME_SPAN = 303;
    /// The broker's own topics.
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305;
    /// Remove index files that have expired.
    CLEAN_EXPIRED_CONSUMEQUEUE = 306;
    /// Compare a group's offsets.
    QUERY_CORRECTION_OFFSET = 308;
    /// Copy a group's offsets.
    CLONE_GROUP_OFFSET = 314;
    /// A statistics counter.
    VIEW_BROKER_STATS_DATA = 315;
    /// Remove topics that are not used.
    CLEAN_UNUSED_TOPIC = 316;
    /// Progress of all groups.
    GET_BROKER_CONSUME_STATS = 317;
    /// Entries of a queue's index.
    QUERY_CONSUME_QUEUE = 321;
    /// Check a half message again.
    RESUME_CHECK_HALF_MESSAGE = 323;
    /// All producers.
    GET_ALL_PRODUCER_INFO = 328;
    /// Remove log files that have expired.
    DELETE_EXPIRED_COMMITLOG = 329;
    /// Topics that a group consumes.
    QUERY_TOPICS_BY_CONSUMER = 343;
    /// A group's subscription to a topic.
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345;
    /// One topic (5.x).
    GET_TOPIC_CONFIG = 351;
    /// One group (5.x).
    GET_SUBSCRIPTIONGROUP_CONFIG = 352;

    // Broker: beside RocketMQ's common way.
    /// Out of use.
    QUERY_BROKER_OFFSET = 13;
    /// Out of use.
    GET_TOPIC_CONFIG_LIST = 22;
    /// Out of use.
    GET_TOPIC_NAME_LIST = 23;
    /// Out of use.
    TRIGGER_DELETE_FILES = 27;
    /// Out of use.
    GET_CLIENT_CONFIG = 47;
    /// Change an account (access control of 4.x).
    UPDATE_AND_CREATE_ACL_CONFIG = 50;
    /// Remove an account (access control of 4.x).
    DELETE_ACL_CONFIG = 51;
    /// Version of the accounts (access control of 4.x).
    GET_BROKER_CLUSTER_ACL_INFO = 52;
    /// Change the addresses that need no account (access control of 4.x).
    UPDATE_GLOBAL_WHITE_ADDRS_CONFIG = 53;
    /// Read the accounts (access control of 4.x).
    GET_BROKER_CLUSTER_ACL_CONFIG = 54;
    /// Progress of timed messages, for replicas (5.x).
    GET_TIMER_CHECK_POINT = 60;
    /// Counts of timed messages by topic (5.x).
    GET_TIMER_METRICS = 61;
    /// Out of use.
    SUSPEND_CONSUMER = 209;
    /// Out of use.
    RESUME_CONSUMER = 210;
    /// Out of use.
    RESET_CONSUMER_OFFSET_IN_CONSUMER = 211;
    /// Out of use.
    RESET_CONSUMER_OFFSET_IN_BROKER = 212;
    /// Out of use.
    ADJUST_CONSUMER_THREAD_POOL = 213;
    /// Out of use.
    WHO_CONSUME_THE_MESSAGE = 214;
    /// Filter servers, an extinct feature.
    REGISTER_FILTER_SERVER = 301;
    /// Filter servers, an extinct feature.
    REGISTER_MESSAGE_FILTER_CLASS = 302;
    /// Forbid a group to read a topic (5.x).
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353;
    /// Compare two indexes of queues (5.x).
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354;
    /// Modes of all groups, for replicas (5.x).
    GET_ALL_MESSAGE_REQUEST_MODE = 402;
    /// Create or change a static topic (5.x).
    UPDATE_AND_CREATE_STATIC_TOPIC = 513;
    /// Add a broker to a container (5.x).
    ADD_BROKER = 902;
    /// Remove a broker from a container (5.x).
    REMOVE_BROKER = 903;
    /// Between replicas (5.x).
    EXCHANGE_BROKER_HA_INFO = 906;
    /// State of a broker's replicas (5.x).
    GET_BROKER_HA_STATUS = 907;
    /// Between replicas (5.x).
    RESET_MASTER_FLUSH_OFFSET = 908;
    /// Slow readers of old messages (5.x).
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001;
    /// Slow readers of old messages (5.x).
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002;
    /// Slow readers of old messages (5.x).
    GET_COLD_DATA_FLOW_CTR_INFO = 2003;
    /// How the log is read (5.x).
    SET_COMMITLOG_READ_MODE = 2004;
    /// Create a user (5.x).
    AUTH_CREATE_USER = 3001;
    /// Change a user (5.x).
    AUTH_UPDATE_USER = 3002;
    /// Remove a user (5.x).
    AUTH_DELETE_USER = 3003;
    /// Read a user (5.x).
    AUTH_GET_USER = 3004;
    /// All users (5.x).
    AUTH_LIST_USER = 3005;
    /// Create a policy (5.x).
    AUTH_CREATE_ACL = 3006;
    /// Change a policy (5.x).
    AUTH_UPDATE_ACL = 3007;
    /// Remove a policy (5.x).
    AUTH_DELETE_ACL = 3008;
    /// Read a policy (5.x).
    AUTH_GET_ACL = 3009;
    /// All policies (5.x).
    AUTH_LIST_ACL = 3010;

    // Controller (5.x).
    /// A master reports who is in sync.
    CONTROLLER_ALTER_SYNC_STATE_SET = 1001;
    /// Choose a master.
    CONTROLLER_ELECT_MASTER = 1002;
    /// A broker comes.
    CONTROLLER_REGISTER_BROKER = 1003;
    /// Who is master?
    CONTROLLER_GET_REPLICA_INFO = 1004;
    /// Who is the controllers' leader?
    CONTROLLER_GET_METADATA_INFO = 1005;
    /// Who is in sync?
    CONTROLLER_GET_SYNC_STATE_DATA = 1006;
    /// A broker's epochs.
    GET_BROKER_EPOCH_CACHE = 1007;
    /// To a broker: your role changed.
    NOTIFY_BROKER_ROLE_CHANGED = 1008;
    /// Change a controller's configuration.
    UPDATE_CONTROLLER_CONFIG = 1009;
    /// Read a controller's configuration.
    GET_CONTROLLER_CONFIG = 1010;
    /// Forget a broker.
    CLEAN_BROKER_DATA = 1011;
    /// Which broker id is next?
    CONTROLLER_GET_NEXT_BROKER_ID = 1012;
    /// Take that broker id.
    CONTROLLER_APPLY_BROKER_ID = 1013;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read from RocketMQ's documented list, a few of each family.
    #[test]
    fn codes_have_their_names() {
        for (code, expected) in [
            (10, "SEND_MESSAGE"),
            (11, "PULL_MESSAGE"),
            (34, "HEART_BEAT"),
            (105, "GET_ROUTEINFO_BY_TOPIC"),
            (310, "SEND_MESSAGE_V2"),
            (361, "LITE_PULL_MESSAGE"),
            (907, "GET_BROKER_HA_STATUS"),
            (1013, "CONTROLLER_APPLY_BROKER_ID"),
            (3010, "AUTH_LIST_ACL"),
            (200_050, "POP_MESSAGE"),
        ] {
            assert_eq!(name(code), Some(expected));
        }
        assert_eq!(name(16), None);
    }
}
