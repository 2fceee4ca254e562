//! The incremental cursor: the newest value, and which records at the edge were loaded before.
//!
//! The lower bound of a pass is `newest - lag`, sent inclusively and rounded down to the precision of its format. Every
//! record from that bound on is remembered by identity, so that duplicates are recognized. The newest value never
//! decreases, and a value from the far future never becomes the newest.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::DateTime;
use forebay_core::{Error, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::json;

/// Most records that a position remembers. Limited so that a position stays under [`forebay_core::Position::BYTES_MAX`]
/// (about 50 bytes a record).
pub(super) const EDGE_RECORDS_MAX: usize = 20_000;

/// Most records without a readable cursor value that a position remembers.
pub(super) const UNPLACED_RECORDS_MAX: usize = 5_000;

/// How far ahead of the clock a cursor value may be and still advance the cursor: time zones and clocks differ by this much.
pub(super) const FUTURE_TOLERANCE: Duration = Duration::from_secs(26 * 3600);

/// Format of a cursor value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `2026-01-01T00:00:00Z`; UTC without a time zone.
    #[default]
    Rfc3339,
    /// Seconds since 1970-01-01, with decimals if any.
    EpochSeconds,
    /// Milliseconds since 1970-01-01.
    EpochMillis,
    /// `2026-01-01`.
    Date,
    /// As received: whole numbers of any length are compared as numbers, also those in quotes, and other texts by their
    /// bytes. If the server returns a text that sorts before the requested bound, in an order that depends on the server,
    /// the run fails: the record may be a new one.
    Raw,
}

/// A point on the cursor: microseconds since 1970 for times, the value itself for `raw`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Mark {
    Number(i64),
    Text(String),
}

impl Mark {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// Whether the order of both is known. A whole number and another text have one only where they are equally long, as
    /// hexadecimal ids are.
    pub(super) fn is_comparable(&self, other: &Self) -> bool {
        let (one, another) = (self.text(), other.text());
        one.len() == another.len()
            || Digits::read(&one).is_some() == Digits::read(&another).is_some()
    }
}

impl Mark {
    /// Whether every server orders both as they are ordered here: whole numbers, times, and texts of equal length that
    /// differ in digits and letters of one case only. Servers order other texts by their bytes, or by a language.
    pub(super) fn is_order_universal(&self, other: &Self) -> bool {
        let (one, another) = (self.text(), other.text());
        let are_numbers = Digits::read(&one).is_some() && Digits::read(&another).is_some();
        let are_times = || parse_instant(&one).is_some() && parse_instant(&another).is_some();
        are_numbers || have_same_form(&one, &another) && !mix_cases(&one, &another) || are_times()
    }
}

/// Whether both have letters and digits of ASCII at the same places, and the same characters at all others.
fn have_same_form(one: &str, another: &str) -> bool {
    let is_alike = |(a, b): (u8, u8)| {
        a == b && a.is_ascii() || a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric()
    };
    one.len() == another.len() && one.bytes().zip(another.bytes()).all(is_alike)
}

fn mix_cases(one: &str, another: &str) -> bool {
    let bytes = || one.bytes().chain(another.bytes());
    bytes().any(|byte| byte.is_ascii_lowercase()) && bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A whole number of any length, also in quotes: `"10"` comes after `"9"`.
#[derive(Debug, PartialEq, Eq)]
struct Digits<'a> {
    is_negative: bool,
    /// Without leading zeros.
    digits: &'a str,
}

impl<'a> Digits<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_whole.then(|| Self {
            is_negative: digits.len() < text.len(),
            digits: digits.trim_start_matches('0'),
        })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let size = |one: &Self, another: &Self| {
            let lengths = one.digits.len().cmp(&another.digits.len());
            lengths.then_with(|| one.digits.cmp(another.digits))
        };
        match (self.is_negative, other.is_negative) {
            (false, false) => size(self, other),
            (true, true) => size(other, self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl Ord for Mark {
    /// Whole numbers as numbers, other texts by their bytes. See [`Mark::is_comparable`] for one of each.
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Self::Number(one), Self::Number(another)) = (self, other) {
            return one.cmp(another);
        }
        let (one, another) = (self.text(), other.text());
        match (Digits::read(&one), Digits::read(&another)) {
            // Two ways to write a number are two values.
            (Some(first), Some(second)) => {
                let length = || one.len().cmp(&another.len());
                first
                    .compare(&second)
                    .then_with(length)
                    .then_with(|| one.cmp(&another))
            }
            (Some(_), None) if one.len() != another.len() => Ordering::Less,
            (None, Some(_)) if one.len() != another.len() => Ordering::Greater,
            _ => one.cmp(&another),
        }
    }
}

impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Mark {}

impl Format {
    /// Parses the JSON token of a record's field; `None` when it is not in this format.
    pub(super) fn read(self, token: &[u8]) -> Option<Mark> {
        let text = json::scalar(token)?;
        match self {
            Self::Raw if token.first() != Some(&b'"') => match text.parse() {
                Ok(number) => Some(Mark::Number(number)),
                Err(_) => Digits::read(&text).is_some().then_some(Mark::Text(text)),
            },
            Self::Raw => Some(Mark::Text(text)),
            Self::Rfc3339 | Self::Date if token.first() != Some(&b'"') => None,
            _ => self.parse_time(&text),
        }
    }

    /// Parses the bound of the first pass: in this format or as a date and time.
    pub(super) fn parse_start(self, text: &str) -> Option<Mark> {
        if self == Self::Raw {
            return Some(
                text.parse()
                    .map_or_else(|_| Mark::Text(text.to_owned()), Mark::Number),
            );
        }
        self.parse_time(text)
            .or_else(|| parse_instant(text).map(Mark::Number))
    }

    fn parse_time(self, text: &str) -> Option<Mark> {
        let micros = match self {
            Self::Rfc3339 | Self::Date => parse_instant(text),
            Self::EpochSeconds => parse_decimal(text, 6),
            Self::EpochMillis => parse_decimal(text, 3),
            Self::Raw => None,
        };
        micros.map(Mark::Number)
    }

    /// Formats a bound for the request; the result may be before `mark`, never after it.
    pub(super) fn show(self, mark: &Mark) -> String {
        let micros = match mark {
            Mark::Text(text) => return text.clone(),
            Mark::Number(micros) => *micros,
        };
        match self {
            Self::Rfc3339 => Timestamp(micros).to_string(),
            Self::EpochSeconds => micros.div_euclid(1_000_000).to_string(),
            Self::EpochMillis => micros.div_euclid(1_000).to_string(),
            Self::Date => Timestamp(micros)
                .to_utc()
                .map_or_else(String::new, |at| at.format("%Y-%m-%d").to_string()),
            Self::Raw => micros.to_string(),
        }
    }

    /// The earliest point that a bound at `mark` includes once formatted.
    pub(super) fn floor(self, mark: &Mark) -> Mark {
        let step = match self {
            Self::EpochSeconds => 1_000_000,
            Self::EpochMillis => 1_000,
            Self::Date => 86_400_000_000,
            Self::Rfc3339 | Self::Raw => 1,
        };
        match mark {
            Mark::Number(micros) => Mark::Number(micros.div_euclid(step) * step),
            Mark::Text(_) => mark.clone(),
        }
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Rfc3339 => "a date and time such as 2026-01-01T00:00:00Z",
            Self::EpochSeconds => "seconds since 1970",
            Self::EpochMillis => "milliseconds since 1970",
            Self::Date => "a date such as 2026-01-01",
            Self::Raw => "a text or a whole number",
        }
    }
}

fn parse_instant(text: &str) -> Option<i64> {
    let instant = Timestamp::parse(text).map(Timestamp::micros);
    // Many APIs write the time zone without its colon.
    instant.or_else(|| {
        DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z")
            .ok()
            .map(|at| at.timestamp_micros())
    })
}

/// A decimal number times ten to the power of `digits`, exactly; further digits are truncated towards the past.
fn parse_decimal(text: &str, digits: usize) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return None;
    }
    let kept = fraction.get(..digits).unwrap_or(fraction);
    let scaled: i64 = format!("{whole}{kept:0<digits$}").parse().ok()?;
    let beyond = i64::from(sign < 0 && fraction.len() > digits);
    (scaled * sign).checked_sub(beyond)
}

/// Whether `mark` is so far ahead of `now_us` that it cannot be the time of a change.
pub(super) fn is_in_far_future(format: Format, mark: &Mark, now_us: i64, lag: Duration) -> bool {
    let tolerance = FUTURE_TOLERANCE.max(lag);
    let bound = now_us.saturating_add(i64::try_from(tolerance.as_micros()).unwrap_or(i64::MAX));
    match mark {
        Mark::Number(_) if format == Format::Raw => false,
        Mark::Number(micros) => *micros > bound,
        Mark::Text(text) => parse_instant(text).is_some_and(|micros| micros > bound),
    }
}

/// `mark` moved back by `lag`.
pub(super) fn back(mark: &Mark, lag: Duration) -> Mark {
    match mark {
        Mark::Number(micros) => {
            Mark::Number(micros.saturating_sub(i64::try_from(lag.as_micros()).unwrap_or(i64::MAX)))
        }
        Mark::Text(_) => mark.clone(),
    }
}

/// The identity of a record, 96 bits of a SHA-256.
pub(super) type Identity = [u8; 12];

/// The identity of a version of a record: its key and all its bytes, or the bytes alone without a key. A change that
/// keeps the cursor value makes another version.
pub(super) fn identity(record: &[u8], key: Option<&[u8]>) -> Identity {
    let mut hash = Sha256::new();
    match key {
        Some(key) => {
            hash.update(b"version\0");
            hash.update((key.len() as u64).to_le_bytes());
            hash.update(key);
        }
        None => hash.update(b"record\0"),
    }
    hash.update(record);
    shortened(hash)
}

/// The identity of the nth record of a page that is equal to others and has no key: each is a record of its own.
pub(super) fn identity_of_equal(identity: Identity, n: u32) -> Identity {
    let mut hash = Sha256::new();
    hash.update(b"equal\0");
    hash.update(identity);
    hash.update(n.to_le_bytes());
    shortened(hash)
}

/// The identity of what a source without a cursor reads.
pub(super) fn resource_identity(url: &str) -> Identity {
    let mut hash = Sha256::new();
    hash.update(b"resource\0");
    hash.update(url);
    shortened(hash)
}

/// The identity of a record with a key in positions of version 1: by key and cursor value.
pub(super) fn legacy_identity(key: &[u8], cursor: Option<&[u8]>) -> Identity {
    let mut hash = Sha256::new();
    hash.update(b"key\0");
    hash.update(key);
    hash.update(b"\0");
    hash.update(cursor.unwrap_or_default());
    shortened(hash)
}

fn shortened(hash: Sha256) -> Identity {
    let digest = hash.finalize();
    std::array::from_fn(|i| digest[i])
}

/// Records loaded before, by their cursor value; `None` holds those without a readable one, which are remembered forever.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(
    from = "Vec<(Option<Mark>, Vec<String>)>",
    into = "Vec<(Option<Mark>, Vec<String>)>"
)]
pub(super) struct Edge {
    records: BTreeMap<Option<Mark>, BTreeSet<Identity>>,
    count: usize,
}

impl Edge {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Records without a readable cursor value.
    pub(super) fn unplaced(&self) -> usize {
        self.records.get(&None).map_or(0, BTreeSet::len)
    }

    pub(super) fn contains(&self, mark: &Option<Mark>, identity: &Identity) -> bool {
        self.records
            .get(mark)
            .is_some_and(|set| set.contains(identity))
    }

    /// Remembers a record; at most [`UNPLACED_RECORDS_MAX`] of those without a readable cursor value: they are never
    /// removed, and one more must not stop the pipeline.
    pub(super) fn insert(&mut self, mark: Option<Mark>, identity: Identity) {
        if mark.is_none() && self.unplaced() >= UNPLACED_RECORDS_MAX {
            return;
        }
        if self.records.entry(mark).or_default().insert(identity) {
            self.count += 1;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (mark, identities) in other.records {
            for identity in identities {
                self.insert(mark.clone(), identity);
            }
        }
    }

    /// Removes the records before `floor`.
    pub(super) fn forget_before(&mut self, floor: &Mark) {
        let floor = Some(floor.clone());
        let first = self.records.keys().find(|mark| mark.is_some());
        if first.is_none_or(|first| *first >= floor) {
            return;
        }
        self.records
            .retain(|mark, _| mark.is_none() || *mark >= floor);
        self.count = self.records.values().map(BTreeSet::len).sum();
    }

    /// # Errors
    /// `edge_too_wide` when there are more records than a position may hold.
    pub(super) fn check(len: usize) -> Result<()> {
        if len <= EDGE_RECORDS_MAX {
            return Ok(());
        }
        let message = format!(
            "more than {EDGE_RECORDS_MAX} records between the newest cursor value and `lag` before it"
        );
        let hint = "make `cursor.lag` shorter, or set `cursor.field` to a field with finer values";
        Err(Error::data("edge_too_wide", message).with_hint(hint))
    }
}

impl From<Vec<(Option<Mark>, Vec<String>)>> for Edge {
    fn from(list: Vec<(Option<Mark>, Vec<String>)>) -> Self {
        let mut edge = Self::default();
        for (mark, identities) in list {
            for identity in identities.iter().filter_map(|text| parse_identity(text)) {
                edge.insert(mark.clone(), identity);
            }
        }
        edge
    }
}

impl From<Edge> for Vec<(Option<Mark>, Vec<String>)> {
    fn from(edge: Edge) -> Self {
        let shown = |set: BTreeSet<Identity>| set.iter().map(hex::encode).collect();
        edge.records
            .into_iter()
            .map(|(mark, set)| (mark, shown(set)))
            .collect()
    }
}

/// The identity that a position has as text.
pub(super) fn parse_identity(text: &str) -> Option<Identity> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_quotes_are_compared_as_numbers() {
        let text = |text: &str| Mark::Text(text.to_owned());
        let ordered = [
            text("-10000000000000000000"),
            Mark::Number(-1),
            text("9"),
            text("0009"),
            text("10"),
            Mark::Number(11),
            text("0999"),
            text("1000"),
            text("9999999999999999999"),
            text("10000000000000000000"),
        ];
        assert!(ordered.is_sorted_by(|one, next| one < next), "{ordered:?}");
        assert_eq!(text("7"), Mark::Number(7));
        assert!(text("65a1b2c3") < text("66123456"));
    }

    #[test]
    fn a_number_and_a_text_are_compared_where_both_are_equally_long() {
        let text = |text: &str| Mark::Text(text.to_owned());
        assert!(text("66123456").is_comparable(&text("65a1b2c3")));
        assert!(text("9").is_comparable(&Mark::Number(10)));
        assert!(text("a").is_comparable(&text("bcd")));
        assert!(!text("10a").is_comparable(&text("9")));
        assert!(!Mark::Number(9).is_comparable(&text("2026-01-01")));
    }

    #[test]
    fn only_numbers_times_and_ids_of_one_form_have_one_order_everywhere() {
        let text = |text: &str| Mark::Text(text.to_owned());
        for (one, another, expected) in [
            ("9", "10", true),
            ("2026-01-01", "2026-01-01T05:00:00Z", true),
            ("65a1b2c3", "66123456", true),
            ("01J8-ABC", "01J9-000", true),
            ("Zoe", "adam", false),
            ("Ab", "aB", false),
            ("a", "ab", false),
            ("a-b", "ab-", false),
            ("\u{e4}", "zz", false),
        ] {
            let is_universal = text(one).is_order_universal(&text(another));
            assert_eq!(is_universal, expected, "{one} {another}");
        }
    }

    #[test]
    fn values_are_read_by_their_format_and_by_no_other() {
        let day = Some(Mark::Number(1_767_225_600_000_000));
        for (format, token, expected) in [
            (Format::Rfc3339, "\"2026-01-01T00:00:00Z\"", day.clone()),
            (
                Format::Rfc3339,
                "\"2026-01-01T01:00:00.000+0100\"",
                day.clone(),
            ),
            (Format::Rfc3339, "1767225600", None),
            (Format::Date, "\"2026-01-01\"", day.clone()),
            (Format::EpochSeconds, "1767225600", day.clone()),
            (Format::EpochSeconds, "\"1767225600.000000\"", day.clone()),
            (
                Format::EpochSeconds,
                "0.1234567",
                Some(Mark::Number(123_456)),
            ),
            (
                Format::EpochSeconds,
                "-0.1234567",
                Some(Mark::Number(-123_457)),
            ),
            (Format::EpochSeconds, "\"2026-01-01\"", None),
            (Format::EpochMillis, "1767225600000", day),
            (Format::EpochMillis, "1e12", None),
            (Format::Raw, "17", Some(Mark::Number(17))),
            (Format::Raw, "\"17\"", Some(Mark::Text("17".to_owned()))),
            (
                Format::Raw,
                "10000000000000000000",
                Some(Mark::Text("10000000000000000000".to_owned())),
            ),
            (Format::Raw, "1.5", None),
            (Format::Raw, "null", None),
            (Format::Raw, "{}", None),
        ] {
            assert_eq!(
                format.read(token.as_bytes()),
                expected,
                "{format:?} {token}"
            );
        }
    }

    #[test]
    fn a_position_stays_within_its_bound() {
        let mut edge = Edge::default();
        for n in 0..EDGE_RECORDS_MAX as i64 {
            let mark = Mark::Number(1_767_225_600_000_000 + n);
            edge.insert(Some(mark), identity(b"", Some(n.to_string().as_bytes())));
        }
        assert!(Edge::check(edge.len()).is_ok());
        assert!(Edge::check(edge.len() + 1).is_err());
        let text = serde_json::to_string(&edge).unwrap();
        assert!(
            text.len() < forebay_core::Position::BYTES_MAX,
            "{}",
            text.len()
        );
        assert_eq!(serde_json::from_str::<Edge>(&text).unwrap(), edge);
    }

    proptest! {
        #[test]
        fn a_bound_as_sent_never_lies_behind_what_is_remembered(micros in 0_i64..4_000_000_000_000_000) {
            for format in [Format::Rfc3339, Format::EpochSeconds, Format::EpochMillis, Format::Date] {
                let mark = Mark::Number(micros);
                let sent = format.parse_start(&format.show(&mark)).unwrap();
                prop_assert_eq!(&sent, &format.floor(&mark), "{:?}", format);
                prop_assert!(sent <= mark);
            }
        }

        #[test]
        fn forgetting_keeps_exactly_what_is_not_before(marks in prop::collection::vec(prop::option::of(0_i64..20), 0..40), floor in 0_i64..20) {
            let mut edge = Edge::default();
            for (n, mark) in marks.iter().enumerate() {
                edge.insert(mark.map(Mark::Number), identity(&n.to_le_bytes(), None));
            }
            edge.forget_before(&Mark::Number(floor));
            prop_assert_eq!(edge.len(), marks.iter().filter(|mark| mark.is_none_or(|mark| mark >= floor)).count());
        }
    }
}
