//! Takes known secrets out of texts that a person may read: messages, audit rows, names of payloads.
//!
//! A server may repeat a credential in its answer, and not always as it was sent: percent-encoded, escaped as JSON or HTML,
//! in base64 or hex. All of these are found. A secret that only *looks* like one is not known here and stays.

use std::error::Error as StdError;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_core::{Error, Rejected, Secret};
use url::Url;

/// A shorter secret is not searched for: it would be found in every second word.
pub const COVERED_BYTES_MIN: usize = 4;

/// Fewer characters of base64 or hex would be found by chance.
const ENCODED_BYTES_MIN: usize = 8;

/// Bytes with which an escape begins.
const ESCAPES: &[u8] = b"%+&\\";

/// Placeholder of a secret.
const COVER: &str = "***";

/// HTML entities for the characters that HTML escapes.
const ENTITIES: [(&str, u8); 6] = [
    ("&amp;", b'&'),
    ("&lt;", b'<'),
    ("&gt;", b'>'),
    ("&quot;", b'"'),
    ("&#39;", b'\''),
    ("&#x27;", b'\''),
];

/// Which escapes a text may be read with; a secret may itself look like one.
#[derive(Clone, Copy)]
struct Reading {
    has_backslashes: bool,
    has_percents: bool,
}

const READINGS: [Reading; 4] = [
    Reading {
        has_backslashes: false,
        has_percents: false,
    },
    Reading {
        has_backslashes: true,
        has_percents: false,
    },
    Reading {
        has_backslashes: false,
        has_percents: true,
    },
    Reading {
        has_backslashes: true,
        has_percents: true,
    },
];

/// Known secrets, in every form in which they are searched for. Longer ones come first.
#[derive(Clone)]
pub struct SecretCover {
    needles: Vec<Vec<u8>>,
    /// For each byte whether a needle, or an escape, may begin with it.
    is_start: [bool; 256],
}

impl SecretCover {
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self::of_texts(secrets.into_iter().map(Secret::expose))
    }

    /// As [`Self::new`]; the password of a secret that is a URL is a secret of its own.
    pub fn of_texts<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets {
            add_needles(&mut needles, secret.trim().as_bytes());
            if let Ok(url) = Url::parse(secret)
                && let Some(password) = url.password()
            {
                let decoded: Vec<u8> = percent_decoded(password.as_bytes());
                add_needles(&mut needles, &decoded);
            }
        }
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        let firsts = needles.iter().filter_map(|needle| needle.first());
        let mut is_start = [false; 256];
        for byte in firsts.chain(ESCAPES) {
            is_start[usize::from(*byte)] = true;
        }
        Self { needles, is_start }
    }

    /// `text` with every secret replaced.
    pub fn cover(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut covered = String::with_capacity(text.len());
        let mut from = 0;
        let mut at = 0;
        while at < bytes.len() {
            let Some(end) = self.end_of_secret(bytes, at) else {
                at += 1;
                continue;
            };
            covered.push_str(&String::from_utf8_lossy(&bytes[from..at]));
            covered.push_str(COVER);
            (from, at) = (end, end);
        }
        covered.push_str(&String::from_utf8_lossy(&bytes[from..]));
        covered
    }

    pub fn is_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        (0..bytes.len()).any(|at| self.end_of_secret(bytes, at).is_some())
    }

    /// `error` with its message, context, hint and causes covered.
    pub fn cover_error(&self, error: Error) -> Error {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        let causes = causes.join(": ");
        if !self.is_in(&causes) && !error.whole_texts().any(|text| self.is_in(text)) {
            return error;
        }
        let covered = error.map_texts(|text| self.cover(text));
        if causes.is_empty() {
            return covered;
        }
        covered.with_source(self.cover(&causes))
    }

    /// Covers the reasons of refusals, which may repeat a value of the record: a server may put a secret into its data.
    pub fn cover_reasons(&self, rejected: &mut [Rejected]) {
        for rejected in rejected {
            if self.is_in(&rejected.reason) {
                rejected.reason = self.cover(&rejected.reason);
            }
        }
    }

    fn end_of_secret(&self, text: &[u8], at: usize) -> Option<usize> {
        if !self.is_start[usize::from(text[at])] {
            return None;
        }
        let needles = self.needles.iter();
        let ends = needles
            .flat_map(|needle| READINGS.map(|reading| end_of_match(text, at, needle, reading)));
        ends.flatten().max()
    }
}

impl fmt::Debug for SecretCover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needles", self.needles.len())
    }
}

fn add_needles(needles: &mut Vec<Vec<u8>>, secret: &[u8]) {
    if secret.len() < COVERED_BYTES_MIN {
        return;
    }
    needles.push(secret.to_vec());
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut encoded = vec![hex.to_uppercase(), hex];
    for shift in 0..3 {
        let core = base64_core(secret, shift);
        encoded.push(core.replace('+', "-").replace('/', "_"));
        encoded.push(core);
    }
    encoded.retain(|text| text.len() >= ENCODED_BYTES_MIN);
    needles.extend(encoded.into_iter().map(String::into_bytes));
}

/// The characters that base64 makes of `secret` alone when `shift` other bytes come before it, whatever they are.
fn base64_core(secret: &[u8], shift: usize) -> String {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(secret);
    let text = STANDARD.encode(&padded);
    let first = (shift * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    text.get(first..end).unwrap_or_default().to_owned()
}

/// The end of `needle` at `at`, each byte as it is or escaped.
fn end_of_match(text: &[u8], mut at: usize, needle: &[u8], reading: Reading) -> Option<usize> {
    let mut left = needle;
    while let Some(wanted) = left.first() {
        let rest = text.get(at..)?;
        let (taken, used) = escaped(rest, left, reading).or_else(|| {
            let is_it = rest.first() == Some(wanted);
            is_it.then_some((1, 1))
        })?;
        left = &left[taken..];
        at += used;
    }
    Some(at)
}

/// How many bytes of `left` an escape at the start of `text` encodes, and how long it is.
fn escaped(text: &[u8], left: &[u8], reading: Reading) -> Option<(usize, usize)> {
    let wanted = *left.first()?;
    match text.first()? {
        b'%' if reading.has_percents => {
            (hex(text.get(1..3)?)? == u32::from(wanted)).then_some((1, 3))
        }
        b'+' if wanted == b' ' => Some((1, 1)),
        b'&' if reading.has_percents => {
            let mut entities = ENTITIES.iter();
            let found =
                entities.find(|(name, byte)| *byte == wanted && text.starts_with(name.as_bytes()));
            found.map(|(name, _)| (1, name.len()))
        }
        b'\\' if reading.has_backslashes => backslash(text, left),
        _ => None,
    }
}

fn backslash(text: &[u8], left: &[u8]) -> Option<(usize, usize)> {
    let simple = match text.get(1)? {
        b'u' => {
            let point = char::from_u32(hex(text.get(2..6)?)?)?;
            let mut buffer = [0; 4];
            let bytes = point.encode_utf8(&mut buffer).as_bytes();
            return left.starts_with(bytes).then_some((bytes.len(), 6));
        }
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => *other,
    };
    (left.first() == Some(&simple)).then_some((1, 2))
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let coded = tail.get(..2).filter(|_| *first == b'%').and_then(hex);
        match coded.and_then(|code| u8::try_from(code).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

fn hex(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3cr/t+\"ü &=x";

    fn cover() -> SecretCover {
        SecretCover::new([&Secret::new(SECRET)])
    }

    #[test]
    fn a_secret_is_covered_however_a_server_repeats_it() {
        let form: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let json = serde_json::to_string(SECRET).unwrap();
        let ascii = json.replace('ü', "\\u00fc").replace('/', "\\/");
        let html = SECRET.replace('&', "&amp;").replace('"', "&quot;");
        let base64 = STANDARD.encode(SECRET.as_bytes());
        let pair = STANDARD.encode(format!("user:{SECRET}").as_bytes());
        let bearer = STANDARD.encode(format!("Bearer {SECRET}!").as_bytes());
        let safe = base64.replace('+', "-").replace('/', "_");
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02X}")).collect();
        for shown in [
            SECRET,
            &form,
            &form.to_lowercase(),
            &json,
            &ascii,
            &html,
            &base64,
            &pair,
            &bearer,
            &safe,
            &hex,
        ] {
            let covered = cover().cover(&format!("a {shown} b {shown}"));
            assert_eq!(covered.matches(COVER).count(), 2, "{shown}: {covered}");
            assert!(
                covered.starts_with("a ") && covered.len() < shown.len() * 2 + 12,
                "{covered}"
            );
        }
    }

    #[test]
    fn the_password_of_a_url_is_covered_by_itself() {
        let url = Secret::new("postgres://me:p%40ss%2Fword@h/db");
        let covered = SecretCover::new([&url]).cover("user me with p@ss/word, or p%40ss%2Fword");
        assert_eq!(covered, "user me with ***, or ***");
    }

    #[test]
    fn an_error_is_covered_in_all_its_parts() {
        let error = Error::data("x", format!("bad {SECRET}"))
            .with_context("url", SECRET)
            .with_hint(SECRET)
            .with_source(SECRET);
        let covered = cover().cover_error(error);
        let mut shown = format!("{covered:?} {covered}");
        shown.push_str(&covered.source().unwrap().to_string());
        assert!(!shown.contains("s3cr"), "{shown}");
        assert_eq!(covered.code(), "x");
    }

    proptest! {
        #[test]
        fn other_text_stays_as_it_is(text in "[a-zA-Z0-9 {}\":,%+&\\\\é]{0,60}") {
            prop_assert_eq!(cover().cover(&text), text);
        }

        #[test]
        fn no_secret_is_left(secret in "[ -~é]{4,20}", before in "[ -~]{0,5}", after in "[ -~]{0,5}") {
            prop_assume!(secret.trim().len() >= COVERED_BYTES_MIN);
            let cover = SecretCover::new([&Secret::new(secret.clone())]);
            let covered = cover.cover(&format!("{before}{secret}{after}"));
            prop_assert!(covered.contains(COVER), "{}", covered);
        }
    }
}
