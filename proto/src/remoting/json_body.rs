//! What all JSON bodies have: `encode` and `decode`.

/// Gives bodies `encode` and `decode`: those of answers by `lenient::decode`, those of requests by the bounded
/// `lenient::decode_request`.
macro_rules! json_body {
    (request: $($body:ty),* $(,)?) => {
        $($crate::remoting::json_body::json_body!(@impl $body, decode_request);)*
    };
    (answer: $($body:ty),* $(,)?) => {
        $($crate::remoting::json_body::json_body!(@impl $body, decode);)*
    };
    (@impl $body:ty, $decode:ident) => {
        impl $body {
            /// The body's bytes, standard JSON.
            pub fn encode(&self) -> Vec<u8> {
                $crate::remoting::lenient::encode(self)
            }

            /// Reads a body, fastjson's dialect included.
            ///
            /// # Errors
            /// When it is not what it should be, or beyond a limit.
            pub fn decode(body: &[u8]) -> Result<Self, $crate::remoting::BodyError> {
                $crate::remoting::lenient::$decode(body)
            }
        }
    };
}
pub(super) use json_body;
