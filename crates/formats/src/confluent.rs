//! Confluent's wire format: a zero byte, the id of the schema (four bytes, big-endian), and the content
//! (<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>).

/// The id of the schema, and the content; `None` when the message is not in the wire format.
pub fn split(message: &[u8]) -> Option<(u32, &[u8])> {
    let (head, content) = message.split_at_checked(HEAD)?;
    let id = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    (head[0] == 0).then_some((id, content))
}

/// Bytes before the content.
pub const HEAD: usize = 5;
