//! What can come with any request, whatever its code.

use super::ext::ext_header;

ext_header! {
    /// Fields that clients add to all their requests (5.x; the first one 4.9 too).
    pub struct RequestCommon<'a> {
        /// The broker name that the request is for.
        broker_name: Option<&'a str> = "bname",
        /// The namespace, when names do not carry it.
        namespace: Option<&'a str> = "ns",
        /// Whether names carry their namespace already.
        namespaced: Option<bool> = "nsd",
        /// Whether the request is one-way (the header's flag says so too).
        oneway: Option<bool> = "oway",
        /// Whether the request is for a logical queue of a static topic.
        logical: Option<bool> = "lo",
        /// The zone of the client.
        zone_name: Option<&'a str> = "__ZONE_NAME",
        /// Whether the client keeps to its zone.
        zone_mode: Option<bool> = "__ZONE_MODE",
        /// Kind of the client, `0` for pull consumers of 5.x.
        request_type: Option<&'a str> = "ReqT",
    }
}

ext_header! {
    /// What a client signs its requests with.
    pub struct Credentials<'a> {
        /// Name of the account.
        access_key: Option<&'a str> = "AccessKey",
        /// Base64 of the HMAC-SHA1 over all other fields, sorted by name, and the body.
        signature: Option<&'a str> = "Signature",
        /// A token for a time.
        security_token: Option<&'a str> = "SecurityToken",
    }
}

/// The remark that answers an unknown code, in RocketMQ's words.
pub fn not_supported_remark(code: i32) -> String {
    format!(" request type {code} not supported")
}
