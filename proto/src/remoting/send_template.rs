//! A producer says nearly the same header with every message: the queue, the time, the properties and the number of the request
//! change, all else stays. A template made of one header reads the next ones by comparing what stays and reading what changes,
//! in a fifth of the time.
//!
//! ```text
//! {"code":310,"extFields":{"a":"p",…,"e":"  3  ","f":"0","g":"  1764000000000  ","h":"0","i":"  …  ","j":"0",…},…,"opaque":  10  ,…}
//! └──────────── piece ──────────────────┘   └── piece ────┘                 └── piece ──┘     └── piece ─────────────┘    └ piece
//! ```
//!
//! What a template reads it reads as [`SendHeader::read_send`] does; what it does not know it leaves to that.

use super::direct::Head;
use super::frame::{Frame, SerializeType};
use super::json_compact::{SLACK_SIZE_BYTES, undo_escapes};
use super::send::{SendHeader, has_short_names};

/// The longest header that becomes a template, bytes: what a connection's template takes of memory. One without much text has
/// about 300 beside its properties.
pub const SEND_TEMPLATE_SIZE_BYTES_MAX: usize = 1024;

/// Digits of a number in a header that a template reads.
const DIGIT_COUNT_MAX: usize = 18;

/// A value that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changing {
    Queue,
    Born,
    Properties,
    Opaque,
}

/// How each is found in a header: what stands in front of it.
const CHANGING: [(Changing, &str); 4] = [
    (Changing::Queue, "\"e\":\""),
    (Changing::Born, "\"g\":\""),
    (Changing::Properties, "\"i\":\""),
    (Changing::Opaque, "\"opaque\":"),
];

/// Text that stays, and the value behind it.
type Piece = (Box<[u8]>, Changing);

/// What the headers of one producer's sends have in common.
#[derive(Clone, Debug)]
pub struct SendTemplate {
    /// Each piece of text with the value behind it.
    pieces: Vec<Piece>,
    /// The last piece.
    end: Box<[u8]>,
    head: Head,
    producer_group: Box<str>,
    topic: Box<str>,
    default_topic: Box<str>,
    broker_name: Option<Box<str>>,
    /// The numbers that stay.
    numbers: SendHeader<'static>,
}

impl SendTemplate {
    /// Makes a template of the frame of a send with short names, which was read as `head` and `send`. `None` for headers that
    /// are too long, unusual, or not in JSON.
    pub fn of(frame: &Frame<'_>, head: &Head, send: &SendHeader<'_>) -> Option<Self> {
        let properties_size = send.properties.map_or(0, str::len);
        let is_small = frame.header.len() <= SEND_TEMPLATE_SIZE_BYTES_MAX + properties_size;
        if !is_small || frame.serialize_type != SerializeType::Json || !has_short_names(head.code) {
            return None;
        }
        let (pieces, end) = cut(frame.header)?;
        let template = Self {
            pieces,
            end,
            head: *head,
            producer_group: send.producer_group.into(),
            topic: send.topic.into(),
            default_topic: send.default_topic.into(),
            broker_name: send.broker_name.map(Into::into),
            numbers: SendHeader {
                producer_group: "",
                topic: "",
                default_topic: "",
                properties: None,
                broker_name: None,
                default_topic_queue_nums: send.default_topic_queue_nums,
                queue_id: send.queue_id,
                sys_flag: send.sys_flag,
                born_timestamp: send.born_timestamp,
                flag: send.flag,
                reconsume_times: send.reconsume_times,
                unit_mode: send.unit_mode,
                max_reconsume_times: send.max_reconsume_times,
                batch: send.batch,
            },
        };
        // Whatever is unusual about the header: the template must read it as it was read.
        let is_same = template.read(frame, &mut Vec::new()).is_some_and(|(of, read)| of == *head && read == *send);
        is_same.then_some(template)
    }

    /// Reads the header of `frame`, when it is one like that which the template was made of. What is escaped in its properties is
    /// put into `scratch`, which grows to the size of a header and is kept by the caller.
    #[inline]
    pub fn read<'a>(&'a self, frame: &Frame<'a>, scratch: &'a mut Vec<u8>) -> Option<(Head, SendHeader<'a>)> {
        if frame.serialize_type != SerializeType::Json {
            return None;
        }
        let header = frame.header;
        let mut send = SendHeader {
            producer_group: &self.producer_group,
            topic: &self.topic,
            default_topic: &self.default_topic,
            broker_name: self.broker_name.as_deref(),
            ..self.numbers
        };
        let mut head = self.head;
        let mut at = 0;
        let mut properties = None;
        if scratch.len() < header.len() + SLACK_SIZE_BYTES {
            scratch.resize(header.len() + SLACK_SIZE_BYTES, 0);
        }
        for (piece, changing) in &self.pieces {
            if !header.get(at..)?.starts_with(piece) {
                return None;
            }
            at += piece.len();
            match changing {
                Changing::Queue => send.queue_id = i32::try_from(number(header, &mut at)?).ok()?,
                Changing::Born => send.born_timestamp = number(header, &mut at)?,
                Changing::Opaque => head.opaque = i32::try_from(number(header, &mut at)?).ok()?,
                Changing::Properties => {
                    let (size, behind) = undo_escapes(header, at, scratch)?;
                    properties = Some(size);
                    // The next piece begins with the closing quote.
                    at = behind - 1;
                }
            }
        }
        if header.get(at..)? != &*self.end {
            return None;
        }
        if let Some(size) = properties {
            send.properties = Some(std::str::from_utf8(scratch.get(..size)?).ok()?);
        }
        Some((head, send))
    }
}

/// Cuts a header at its changing values. `None` when one is not there, or there is anything that could be read in two ways.
fn cut(header: &[u8]) -> Option<(Vec<Piece>, Box<[u8]>)> {
    let text = std::str::from_utf8(header).ok()?;
    let mut places = Vec::new();
    for (changing, before) in CHANGING {
        let name = before.split_inclusive('"').take(2).map(str::len).sum();
        let mut found = text.match_indices(&before[..name]);
        match (found.next(), found.next()) {
            (Some((at, _)), None) if text[at..].starts_with(before) => places.push((at + before.len(), changing)),
            (None, _) if changing == Changing::Properties => {}
            _ => return None,
        }
    }
    places.sort_unstable_by_key(|(at, _)| *at);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = 0;
    for (at, changing) in places {
        pieces.push((header.get(start..at)?.into(), changing));
        start = at;
        if changing == Changing::Properties {
            let mut room = vec![0; header.len() + SLACK_SIZE_BYTES];
            start = undo_escapes(header, at, &mut room)?.1 - 1;
        } else {
            number(header, &mut start)?;
        }
    }
    pieces.push((header.get(start..)?.into(), Changing::Opaque));
    // An escape could write a name in another way.
    if pieces.iter().any(|(piece, _)| piece.contains(&b'\\')) {
        return None;
    }
    let (end, _) = pieces.pop()?;
    Some((pieces, end))
}

/// Takes a number.
#[inline]
fn number(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let is_negative = bytes.get(*at) == Some(&b'-');
    *at += usize::from(is_negative);
    let start = *at;
    let mut value = 0_i64;
    while let Some(eight) = bytes.get(*at..).and_then(<[u8]>::first_chunk).and_then(|chunk| eight_digits(*chunk))
        && *at - start <= DIGIT_COUNT_MAX - 8
    {
        value = value * 100_000_000 + i64::from(eight);
        *at += 8;
    }
    loop {
        let digit = bytes.get(*at)?.wrapping_sub(b'0');
        let count = *at - start;
        if digit > 9 {
            return (count > 0).then_some(if is_negative { -value } else { value });
        }
        if count == DIGIT_COUNT_MAX {
            return None;
        }
        // So few digits do not overflow: what checks for that costs more than what it checks.
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        *at += 1;
    }
}

/// The number that eight digits write, all at once: pairs are made of digits, fours of pairs, and eight of fours. `None` when one is
/// not a digit.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u32> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    /// Carries a byte above 9 into its highest bit.
    const ABOVE_NINE: u64 = 0x7676_7676_7676_7676;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let digits = u64::from_le_bytes(text) ^ ZEROS;
    if (digits | digits.wrapping_add(ABOVE_NINE)) & HIGH_BITS != 0 {
        return None;
    }
    let pairs = (digits.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    u32::try_from(fours.wrapping_mul(10_000 << 32 | 1) >> 32).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request_code::{SEND_BATCH_MESSAGE, SEND_MESSAGE, SEND_MESSAGE_V2};
    use super::super::send::encode_send_request;
    use super::super::split_frame;
    use super::*;
    use crate::limits::FRAME_SIZE_BYTES_MAX;

    fn header(queue_id: i32, born_timestamp: i64, properties: Option<&str>) -> SendHeader<'_> {
        SendHeader {
            producer_group: "group",
            topic: "orders",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id,
            born_timestamp,
            properties,
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(false),
            broker_name: Some("broker-a"),
            ..SendHeader::default()
        }
    }

    fn bytes(opaque: i32, header: &SendHeader<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_send_request(&mut out, SerializeType::Json, (SEND_MESSAGE_V2, opaque), false, header, b"body");
        out
    }

    type WasRead = Option<(Head, String)>;

    /// As the general reader reads it, and as the template does.
    fn both(template: &SendTemplate, bytes: &[u8]) -> (WasRead, WasRead) {
        let Ok(Some((frame, _))) = split_frame(bytes, FRAME_SIZE_BYTES_MAX) else { return (None, None) };
        let (mut scratch, mut other) = (Vec::new(), Vec::new());
        let general = SendHeader::read_send(SEND_MESSAGE_V2, &frame, &mut scratch).ok();
        let general = general.and_then(|(head, send)| Some((head, format!("{:?}", send.ok()?))));
        let quick = template.read(&frame, &mut other).map(|(head, send)| (head, format!("{send:?}")));
        (general, quick)
    }

    fn template(bytes: &[u8]) -> Option<SendTemplate> {
        let (frame, _) = split_frame(bytes, FRAME_SIZE_BYTES_MAX).expect("a frame").expect("whole");
        let mut scratch = Vec::new();
        let (head, send) = SendHeader::read_send(SEND_MESSAGE_V2, &frame, &mut scratch).expect("a header");
        SendTemplate::of(&frame, &head, &send.expect("all fields"))
    }

    #[test]
    fn headers_alike_are_read_and_others_are_left_to_the_general_reader() {
        let first = bytes(10, &header(3, 1_764_000_000_000, Some("UNIQ_KEY\u{1}ABC\u{2}WAIT\u{1}true")));
        let template = template(&first).expect("usual");
        let properties = "UNIQ_KEY\u{1}DEF\u{2}KEYS\u{1}a \"b\" \\ \u{e9}\u{1f600}\u{2}";
        for (opaque, queue, born) in [(11, 0, 1), (i32::MAX, 12_345, i64::from(u32::MAX)), (-1, -1, -5)] {
            let (general, quick) = both(&template, &bytes(opaque, &header(queue, born, Some(properties))));
            assert!(general.is_some());
            assert_eq!(quick, general);
        }
        let (general, quick) = both(&template, &bytes(12, &header(3, i64::MAX, Some(""))));
        assert!(general.is_some() && quick.is_none(), "a number of 19 digits is left to the general reader");
        let other_topic = SendHeader { topic: "ordern", ..header(3, 1, Some("")) };
        let (general, quick) = both(&template, &bytes(12, &other_topic));
        assert!(general.is_some() && quick.is_none());
        let (general, quick) = both(&template, &bytes(12, &header(3, 1, None)));
        assert!(general.is_some() && quick.is_none(), "no properties where the first had some");
    }

    #[test]
    fn what_is_unusual_makes_no_template() {
        assert!(template(&bytes(1, &header(3, 1, None))).is_some(), "without properties");
        for topic in ["e", "opaque", "a\"b", "a\\b"] {
            assert!(template(&bytes(1, &SendHeader { topic, ..header(3, 1, Some("")) })).is_none(), "{topic}");
        }
        let long = "t".repeat(SEND_TEMPLATE_SIZE_BYTES_MAX);
        assert!(template(&bytes(1, &SendHeader { topic: &long, ..header(3, 1, Some("")) })).is_none());
        let mut binary = Vec::new();
        let numbers = (SEND_MESSAGE_V2, 1);
        encode_send_request(&mut binary, SerializeType::Binary, numbers, false, &header(3, 1, Some("")), b"");
        assert!(template(&binary).is_none());
        let (head, send) = (Head { code: SEND_MESSAGE, ..Head::EMPTY }, header(1, 1, None));
        let frame = Frame { serialize_type: SerializeType::Json, header: b"{}", body: b"" };
        assert!(SendTemplate::of(&frame, &head, &send).is_none(), "long names");
        assert!(has_short_names(SEND_BATCH_MESSAGE));
    }

    #[test]
    fn a_name_that_comes_twice_makes_no_template() {
        let twice = |second: &str| {
            let json = format!(
                r#"{{"code":310,"extFields":{{"a":"p","b":"t","c":"d","d":"4","e":"1","f":"0","g":"1","h":"0",{second}}},"opaque":5}}"#
            );
            let mut out = (u32::try_from(4 + json.len()).expect("short")).to_be_bytes().to_vec();
            out.extend_from_slice(&u32::try_from(json.len()).expect("short").to_be_bytes());
            out.extend_from_slice(json.as_bytes());
            out
        };
        assert!(template(&twice(r#""i":"x""#)).is_some());
        for second in [r#""g":"1""#, r#""g" :"1""#, r#""\u0067":"1""#, r#""e":"1","i":"x""#] {
            assert!(template(&twice(second)).is_none(), "{second}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_the_standard_library_reads_it(value in any::<i64>(), digits in 0..20_u32, text in "-?[0-9:/]{0,20}") {
            for text in [(value / 10_i64.pow(digits.min(18))).to_string(), text] {
                let quoted = format!("{text}\"}},");
                let size = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
                let digits = text[..size].trim_start_matches('-').len();
                let mut at = 0;
                let read = number(quoted.as_bytes(), &mut at);
                let expected = if digits > DIGIT_COUNT_MAX { None } else { text[..size].parse::<i64>().ok() };
                prop_assert_eq!(read, expected, "{}", text);
                prop_assert!(read.is_none() || at == size);
            }
        }

        #[test]
        fn a_changed_byte_is_never_read_as_something_else(at in 0..600_usize, to in any::<u8>()) {
            let properties = Some("UNIQ_KEY\u{1}ABC\u{2}WAIT\u{1}true");
            let mut bytes = bytes(10, &header(3, 1_764_000_000_000, properties));
            let template = template(&bytes).expect("usual");
            let at = 8 + at % (bytes.len() - 8);
            bytes[at] = to;
            let (general, quick) = both(&template, &bytes);
            prop_assert!(quick.is_none() || quick == general);
        }

        #[test]
        fn any_properties_are_read_as_the_general_reader_reads_them(properties in ".{0,60}", queue in any::<i32>()) {
            let template = template(&bytes(10, &header(3, 1, Some("A\u{1}b")))).expect("usual");
            let (general, quick) = both(&template, &bytes(99, &header(queue, 17, Some(&properties))));
            prop_assert!(general.is_some());
            prop_assert_eq!(quick, general);
        }
    }
}
