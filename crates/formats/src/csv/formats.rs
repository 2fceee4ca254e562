//! Formats of numbers and times other than the default.
//!
//! By default decimals follow a point and times are those of ISO 8601. Configured formats replace these, for learned and
//! for declared types; a text in another format does not fit.

use std::borrow::Cow;

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse};
use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

use super::{CsvConfig, NumberType, types};
use crate::iso_time;

/// Formats that a list may have: each text is tried with all of them.
const FORMATS_MAX: usize = 16;

/// Digits between two separators of thousands.
const GROUP_DIGITS: usize = 3;

/// A key of the configuration, and the problem with it.
type Mistake = (&'static str, String);

/// The formats of numbers and times.
#[derive(Debug)]
pub(super) struct Formats {
    decimal: char,
    thousands: Option<char>,
    dates: Vec<TimeFormat>,
    timestamps: Vec<TimeFormat>,
    pub(super) numbers: NumberType,
}

/// One format of `strftime`.
#[derive(Debug)]
struct TimeFormat {
    items: Vec<Item<'static>>,
    has_zone: bool,
    /// Whether the year has its century, which `26` lacks.
    has_full_year: bool,
}

impl Formats {
    pub(super) fn new(config: &CsvConfig) -> Result<Self, Mistake> {
        let decimal = separator(&config.decimal).ok_or_else(|| no_separator("decimal"))?;
        let thousands = match config.thousands.as_deref() {
            None | Some("") => None,
            Some(text) => Some(separator(text).ok_or_else(|| no_separator("thousands"))?),
        };
        if thousands == Some(decimal) {
            let what = "`thousands` and `decimal` are the same character".to_owned();
            return Err(("thousands", what));
        }
        let formats = Self {
            decimal,
            thousands,
            dates: time_formats("date_formats", &config.date_formats)?,
            timestamps: time_formats("timestamp_formats", &config.timestamp_formats)?,
            numbers: config.numbers,
        };
        formats.check_samples(config)?;
        Ok(formats)
    }

    /// Each format must parse a time that it has printed.
    fn check_samples(&self, config: &CsvConfig) -> Result<(), Mistake> {
        let day = NaiveDate::from_ymd_opt(2001, 12, 31).unwrap_or_default();
        let late = day.and_hms_opt(23, 58, 0).unwrap_or_default();
        for (format, text) in self.dates.iter().zip(&config.date_formats) {
            let sample = format.show(late);
            let tells_time = sample != format.show(day.into());
            if tells_time || format.date(&sample) != Some(day) {
                let what =
                    format!("{text:?} is not the format of a date: write it as in \"%d.%m.%Y\"");
                return Err(("date_formats", what));
            }
        }
        for (format, text) in self.timestamps.iter().zip(&config.timestamp_formats) {
            if format.local(&format.show(late)) != Some(late) {
                let what = format!(
                    "{text:?} is not the format of a date with hour and minute: write it as in \"%d.%m.%Y %H:%M:%S\""
                );
                return Err(("timestamp_formats", what));
            }
        }
        Ok(())
    }

    /// The number in the default format: without separators of thousands, with a point. `None` where the separators are
    /// misplaced.
    fn plain<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        if self.decimal == '.' && self.thousands.is_none() {
            return Some(Cow::Borrowed(text));
        }
        let (whole, fraction) = match text.split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let whole = match self.thousands {
            Some(separator) if whole.contains(separator) => {
                Cow::Owned(without_groups(whole, separator)?)
            }
            _ => Cow::Borrowed(whole),
        };
        if whole.contains('.') || fraction.is_some_and(|fraction| fraction.contains('.')) {
            return None;
        }
        Some(match fraction {
            None => whole,
            Some(fraction) => Cow::Owned(format!("{whole}.{fraction}")),
        })
    }

    pub(super) fn long(&self, text: &str, learned: bool) -> Option<i64> {
        types::long(&self.plain(text)?, learned)
    }

    pub(super) fn double(&self, text: &str, learned: bool) -> Option<f64> {
        types::double(&self.plain(text)?, learned)
    }

    pub(super) fn float(&self, text: &str) -> Option<f32> {
        types::float(&self.plain(text)?)
    }

    pub(super) fn decimal(&self, text: &str, precision: u8, scale: i8) -> Option<i128> {
        types::decimal(&self.plain(text)?, precision, scale)
    }

    /// Days since 1970-01-01.
    pub(super) fn date(&self, text: &str) -> Option<i32> {
        if self.dates.is_empty() {
            return iso_time::date(text);
        }
        let day = self.dates.iter().find_map(|format| format.date(text))?;
        i32::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).ok()
    }

    /// Microseconds of a time without a zone; when declared also of a date.
    pub(super) fn timestamp(&self, text: &str, learned: bool) -> Option<i64> {
        let found = if self.timestamps.is_empty() {
            iso_time::timestamp(text, learned || !self.dates.is_empty())
        } else {
            let local = self.timestamps.iter().filter(|format| !format.has_zone);
            local
                .filter_map(|format| format.local(text))
                .find_map(micros)
        };
        let of_day = || {
            let day = i64::from(self.date(text)?);
            day.checked_mul(iso_time::MICROS_PER_DAY)
        };
        match found {
            None if !learned => of_day(),
            found => found,
        }
    }

    /// Microseconds of a time with a zone; when declared also without, taken as UTC.
    pub(super) fn timestamptz(&self, text: &str, learned: bool) -> Option<i64> {
        if !learned && let Some(micros) = self.timestamp(text, false) {
            return Some(micros);
        }
        if self.timestamps.is_empty() {
            return iso_time::timestamptz(text, true);
        }
        let zoned = self.timestamps.iter().filter(|format| format.has_zone);
        zoned.filter_map(|format| format.utc(text)).find_map(micros)
    }
}

impl TimeFormat {
    fn new(text: &str) -> Option<Self> {
        let items = StrftimeItems::new(text).parse_to_owned().ok()?;
        let has = |wanted: &[Numeric]| {
            items
                .iter()
                .any(|item| matches!(item, Item::Numeric(numeric, _) if wanted.contains(numeric)))
        };
        let is_zone = |item: &Item<'_>| {
            matches!(
                item,
                Item::Fixed(
                    Fixed::TimezoneOffset
                        | Fixed::TimezoneOffsetColon
                        | Fixed::TimezoneOffsetDoubleColon
                        | Fixed::TimezoneOffsetTripleColon
                        | Fixed::TimezoneOffsetColonZ
                        | Fixed::TimezoneOffsetZ
                        | Fixed::RFC2822
                        | Fixed::RFC3339
                )
            )
        };
        Some(Self {
            has_zone: items.iter().any(is_zone) || has(&[Numeric::Timestamp]),
            has_full_year: has(&[Numeric::Year, Numeric::IsoYear]),
            items,
        })
    }

    /// A time of UTC, written so.
    fn show(&self, time: NaiveDateTime) -> String {
        let time = time.and_utc().fixed_offset();
        time.format_with_items(self.items.iter()).to_string()
    }

    fn parsed(&self, text: &str) -> Option<Parsed> {
        // Blanks at either end would be skipped.
        if text.trim().len() != text.len() {
            return None;
        }
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, self.items.iter()).ok()?;
        Some(parsed)
    }

    fn date(&self, text: &str) -> Option<NaiveDate> {
        let day = self.parsed(text)?.to_naive_date().ok()?;
        self.has_its_year(day, text).then_some(day)
    }

    /// The local time in the text, whatever its zone.
    fn local(&self, text: &str) -> Option<NaiveDateTime> {
        let time = self.parsed(text)?.to_naive_datetime_with_offset(0).ok()?;
        self.has_its_year(time.date(), text).then_some(time)
    }

    fn utc(&self, text: &str) -> Option<NaiveDateTime> {
        let time = self.parsed(text)?.to_datetime().ok()?;
        let is_whole = self.has_its_year(time.date_naive(), text);
        is_whole.then(|| time.naive_utc())
    }

    /// `1.2.26` is not a day of the year 26: a full year has four digits.
    fn has_its_year(&self, day: NaiveDate, text: &str) -> bool {
        let year = day.year();
        !self.has_full_year || year >= 1_000 || text.contains(&format!("{year:04}"))
    }
}

/// No second 60 and nothing below a microsecond: both would be another time.
fn micros(time: NaiveDateTime) -> Option<i64> {
    let nanos = time.nanosecond();
    let exact = nanos < 1_000_000_000 && nanos.is_multiple_of(1_000);
    exact.then(|| time.and_utc().timestamp_micros())
}

fn time_formats(key: &'static str, texts: &[String]) -> Result<Vec<TimeFormat>, Mistake> {
    if texts.len() > FORMATS_MAX {
        let what = format!(
            "{} formats, more than the {FORMATS_MAX} allowed",
            texts.len()
        );
        return Err((key, what));
    }
    let format = |text: &String| {
        TimeFormat::new(text).ok_or_else(|| {
            let what = format!("{text:?} is not a format: write it as in \"%d.%m.%Y\" (strftime)");
            (key, what)
        })
    };
    texts.iter().map(format).collect()
}

/// A whole number without its separators; `None` unless they follow every three digits.
fn without_groups(whole: &str, separator: char) -> Option<String> {
    let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    let sign = &whole[..whole.len() - digits.len()];
    let mut groups = digits.split(separator);
    let first = groups.next()?;
    let is_first = (1..=GROUP_DIGITS).contains(&first.len()) && !first.starts_with('0');
    let is_number = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let mut rest = groups.clone();
    let fits = is_first
        && is_number(first)
        && rest.all(|group| group.len() == GROUP_DIGITS && is_number(group));
    fits.then(|| format!("{sign}{first}{}", groups.collect::<String>()))
}

/// The one character of a text, if it cannot be part of a number.
fn separator(text: &str) -> Option<char> {
    let mut characters = text.chars();
    let one = characters.next().filter(|_| characters.next().is_none())?;
    let is_taken = one.is_alphanumeric() || matches!(one, '+' | '-' | '\n' | '\r' | '\0');
    (!is_taken).then_some(one)
}

fn no_separator(key: &'static str) -> Mistake {
    let what = format!("`{key}` must be one character other than a letter, digit or sign");
    (key, what)
}
