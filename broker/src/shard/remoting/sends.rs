//! Reading the headers of a connection's sends: by the template of earlier ones when there is one and it fits.

use ringmq_proto::remoting::direct::Head;
use ringmq_proto::remoting::send::SendHeader;
use ringmq_proto::remoting::{FieldError, Frame, FrameError, SendTemplate};

/// So many sends in a row must have had other headers before the template is made anew: making one costs as much as reading
/// several, and a client may send to topics in turn.
const MISSES_MAX: u8 = 8;

/// What the headers of one connection's sends have in common.
#[derive(Debug, Default)]
pub(in crate::shard) struct Sends {
    template: Option<Box<SendTemplate>>,
    misses: u8,
}

impl Sends {
    /// Reads the header of a send with this code, and gives what was read to `then`. `scratch` is the shard's.
    pub(super) fn read<R>(
        &mut self,
        request_code: i32,
        frame: &Frame<'_>,
        scratch: &mut Vec<u8>,
        then: impl FnOnce(Head, Result<SendHeader<'_>, FieldError>) -> R,
    ) -> Result<R, FrameError> {
        if let Some(template) = &self.template
            && let Some((head, send)) = template.read(frame, scratch)
        {
            self.misses = 0;
            return Ok(then(head, Ok(send)));
        }
        let (head, send) = SendHeader::read_send(request_code, frame, scratch)?;
        if self.misses < MISSES_MAX {
            self.misses += 1;
        } else if let Ok(send) = &send {
            self.misses = 0;
            self.template = SendTemplate::of(frame, &head, send).map(Box::new);
        }
        Ok(then(head, send))
    }
}
