//! Column types: the mapping from Arrow, the types of a table, and their compatibility.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};

/// A type of Postgres, as far as rows can be converted to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Precision and scale, where the column has them.
    Numeric(Option<(u16, i16)>),
    /// Everything whose binary form is its text: text, varchar, char, citext, json, xml, enums. The name is kept for
    /// casts.
    Text(String, Option<TextLimit>),
    Jsonb,
    Uuid,
    Bytea,
    Date,
    /// Decimals of a second in the column, at most 6.
    Time(u8),
    Timestamp(u8),
    Timestamptz(u8),
    Interval(IntervalFields),
    /// Elements with their type's oid.
    Array(Box<PgType>, u32),
    /// An unsupported type, by its name.
    Other(String),
}

/// Decimals of a second that Postgres supports.
const DECIMALS: u8 = 6;

/// Bytes of a value of type `name`.
const NAME_TYPE_BYTES_MAX: u32 = 63;

/// The longest text that a column stores without truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextLimit {
    /// `varchar(n)` and `char(n)`.
    Characters(u32),
    /// `name`.
    Bytes(u32),
}

/// The fields of an interval that a column stores: Postgres drops the rest without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IntervalFields {
    /// Decimals of a second.
    pub(super) decimals: u8,
    /// The smallest field of `interval year to month` and the like.
    pub(super) smallest: SmallestField,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SmallestField {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl IntervalFields {
    /// All fields, as a plain `interval`.
    pub(super) const ALL: Self = Self {
        decimals: DECIMALS,
        smallest: SmallestField::Second,
    };

    /// `(fields << 16) | decimals`; all bits of a half mean that it is not limited.
    fn read(modifier: i32) -> Self {
        if modifier < 0 {
            return Self::ALL;
        }
        let decimals = modifier & 0xffff;
        let fields = (modifier >> 16) & 0x7fff;
        Self {
            decimals: u8::try_from(decimals).map_or(DECIMALS, |decimals| decimals.min(DECIMALS)),
            smallest: SmallestField::of(fields),
        }
    }
}

impl SmallestField {
    /// Of a set of fields, as `INTERVAL_MASK` of the server has them.
    fn of(fields: i32) -> Self {
        let has = |bit: i32| fields & (1 << bit) != 0;
        match () {
            () if fields == 0x7fff || has(12) => Self::Second,
            () if has(11) => Self::Minute,
            () if has(10) => Self::Hour,
            () if has(3) => Self::Day,
            () if has(1) => Self::Month,
            () if has(2) => Self::Year,
            () => Self::Second,
        }
    }
}

impl PgType {
    /// The type of a new column; `None` for unsupported types.
    pub(super) fn of(kind: &DataType) -> Option<Self> {
        use DataType as T;
        Some(match kind {
            T::Boolean => Self::Bool,
            T::Int8 | T::Int16 | T::UInt8 => Self::Int2,
            T::Int32 | T::UInt16 => Self::Int4,
            T::Int64 | T::UInt32 => Self::Int8,
            T::UInt64 => Self::Numeric(Some((20, 0))),
            T::Float16 | T::Float32 => Self::Float4,
            T::Float64 => Self::Float8,
            T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
                Self::Numeric(Some(digits(*p, *s)))
            }
            T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null => Self::text(),
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Self::Bytea,
            T::Date32 | T::Date64 => Self::Date,
            T::Time32(_) | T::Time64(_) => Self::Time(DECIMALS),
            T::Timestamp(_, None) => Self::Timestamp(DECIMALS),
            T::Timestamp(_, Some(_)) => Self::Timestamptz(DECIMALS),
            T::Duration(_) | T::Interval(_) => Self::Interval(IntervalFields::ALL),
            T::List(field) | T::LargeList(field) | T::FixedSizeList(field, _) => {
                if field.data_type().is_nested() {
                    Self::Jsonb
                } else {
                    let element = Self::of(field.data_type())?;
                    let oid = element.oid()?;
                    Self::Array(Box::new(element), oid)
                }
            }
            T::Struct(_) | T::Map(_, _) => Self::Jsonb,
            T::Dictionary(_, values) => Self::of(values)?,
            T::RunEndEncoded(_, values) => Self::of(values.data_type())?,
            _ => return None,
        })
    }

    /// Text of any length.
    pub(super) fn text() -> Self {
        Self::Text("text".to_owned(), None)
    }

    /// The oid that elements of an array carry; builtin types only.
    fn oid(&self) -> Option<u32> {
        Some(match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Text(name, _) if name == "text" => 25,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Date => 1082,
            Self::Time(_) => 1083,
            Self::Timestamp(_) => 1114,
            Self::Timestamptz(_) => 1184,
            Self::Interval(_) => 1186,
            Self::Numeric(_) => 1700,
            Self::Uuid => 2950,
            Self::Jsonb => 3802,
            _ => return None,
        })
    }

    /// Parses the column type from the server's catalog: its name, modifier and kind.
    pub(super) fn read(name: &str, modifier: i32, category: i8, is_enum: bool) -> Self {
        let decimals = if (0..=6).contains(&modifier) {
            modifier as u8
        } else {
            DECIMALS
        };
        match name {
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" => Self::Numeric(numeric(modifier)),
            "jsonb" => Self::Jsonb,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" => Self::Time(decimals),
            "timestamp" => Self::Timestamp(decimals),
            "timestamptz" => Self::Timestamptz(decimals),
            "interval" => Self::Interval(IntervalFields::read(modifier)),
            "json" | "xml" => Self::Text(name.to_owned(), None),
            "name" => {
                let limit = TextLimit::Bytes(NAME_TYPE_BYTES_MAX);
                Self::Text(name.to_owned(), Some(limit))
            }
            "varchar" | "bpchar" => Self::Text(name.to_owned(), characters(modifier)),
            // Category S: text, varchar, bpchar, citext and the like.
            _ if is_enum || category == b'S' as i8 => Self::Text(name.to_owned(), None),
            _ => Self::Other(name.to_owned()),
        }
    }

    /// Whether the server has an equality for values of this type.
    pub(super) fn has_equality(&self) -> bool {
        match self {
            Self::Text(name, _) => !["json", "xml"].contains(&name.as_str()),
            Self::Array(element, _) => element.has_equality(),
            Self::Other(_) => false,
            _ => true,
        }
    }

    /// The type for this one's values and `other`'s, when a column can be widened to it without losing anything.
    pub(super) fn wider(&self, other: &Self) -> Option<Self> {
        let rank = |kind: &Self| match kind {
            Self::Int2 => Some(1),
            Self::Int4 => Some(2),
            Self::Int8 => Some(3),
            _ => None,
        };
        match (self, other) {
            _ if self == other => Some(self.clone()),
            (Self::Float4, Self::Float8) | (Self::Float8, Self::Float4) => Some(Self::Float8),
            (Self::Numeric(None), Self::Numeric(_)) => Some(Self::Numeric(None)),
            (Self::Numeric(Some((p, s))), Self::Numeric(Some((q, t)))) => {
                let whole = (*p as i16 - s).max(*q as i16 - t);
                let scale = *s.max(t);
                Some(Self::Numeric(Some(((whole + scale) as u16, scale))))
            }
            (Self::Numeric(Some((p, s))), _) if rank(other).is_some() => {
                let whole = (*p as i16 - s).max(19);
                Some(Self::Numeric(Some(((whole + s) as u16, *s))))
            }
            (_, Self::Numeric(Some(_))) if rank(self).is_some() => other.wider(self),
            _ => match (rank(self), rank(other)) {
                (Some(a), Some(b)) if a < b => Some(other.clone()),
                (Some(_), Some(_)) => Some(self.clone()),
                _ => None,
            },
        }
    }
}

/// A column of a negative scale has only zeros after its digits.
fn digits(precision: u8, scale: i8) -> (u16, i16) {
    if scale < 0 {
        (u16::from(precision) + u16::from(scale.unsigned_abs()), 0)
    } else {
        (u16::from(precision), i16::from(scale))
    }
}

/// `((precision << 16) | scale) + 4`, with a scale of 11 bits that may be negative.
fn numeric(modifier: i32) -> Option<(u16, i16)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    let scale = (packed & 0x7ff) ^ 1024;
    Some(((packed >> 16) as u16, (scale - 1024) as i16))
}

/// The length of `varchar(n)` and `char(n)`, with 4 bytes for a header; without a length there is no modifier.
fn characters(modifier: i32) -> Option<TextLimit> {
    let length = modifier.checked_sub(4).filter(|length| *length > 0)?;
    u32::try_from(length).ok().map(TextLimit::Characters)
}

impl fmt::Display for PgType {
    /// In the form of a column definition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = |f: &mut fmt::Formatter<'_>, n: u8, name: &str, zone: &str| {
            if n == DECIMALS {
                write!(f, "{name}{zone}")
            } else {
                write!(f, "{name}({n}){zone}")
            }
        };
        match self {
            Self::Bool => f.write_str("boolean"),
            Self::Int2 => f.write_str("smallint"),
            Self::Int4 => f.write_str("integer"),
            Self::Int8 => f.write_str("bigint"),
            Self::Float4 => f.write_str("real"),
            Self::Float8 => f.write_str("double precision"),
            Self::Numeric(None) => f.write_str("numeric"),
            Self::Numeric(Some((p, s))) => write!(f, "numeric({p},{s})"),
            Self::Text(name, Some(TextLimit::Characters(length))) => write!(f, "{name}({length})"),
            Self::Text(name, _) | Self::Other(name) => f.write_str(name),
            Self::Jsonb => f.write_str("jsonb"),
            Self::Uuid => f.write_str("uuid"),
            Self::Bytea => f.write_str("bytea"),
            Self::Date => f.write_str("date"),
            Self::Time(n) => decimals(f, *n, "time", ""),
            Self::Timestamp(n) => decimals(f, *n, "timestamp", ""),
            Self::Timestamptz(n) => decimals(f, *n, "timestamp", " with time zone"),
            Self::Interval(_) => f.write_str("interval"),
            Self::Array(element, _) => write!(f, "{element}[]"),
        }
    }
}

/// Micros of one unit, or how many units make one micro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Times(i64),
    Over(i64),
}

pub(super) fn scale(unit: TimeUnit) -> Scale {
    match unit {
        TimeUnit::Second => Scale::Times(1_000_000),
        TimeUnit::Millisecond => Scale::Times(1_000),
        TimeUnit::Microsecond => Scale::Times(1),
        TimeUnit::Nanosecond => Scale::Over(1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_modifiers_are_read() {
        // numeric(10,2) and numeric(3,-2), as pg_attribute has them.
        assert_eq!(numeric(((10 << 16) | 2) + 4), Some((10, 2)));
        assert_eq!(numeric(((3 << 16) | (2048 - 2)) + 4), Some((3, -2)));
        assert_eq!(numeric(-1), None);
    }

    #[test]
    fn limits_of_texts_and_intervals_are_read() {
        let read = |name, modifier| PgType::read(name, modifier, b'S'.cast_signed(), false);
        let characters = Some(TextLimit::Characters(3));
        assert_eq!(
            read("varchar", 7),
            PgType::Text("varchar".to_owned(), characters)
        );
        assert_eq!(
            read("bpchar", 7),
            PgType::Text("bpchar".to_owned(), characters)
        );
        assert_eq!(
            read("varchar", -1),
            PgType::Text("varchar".to_owned(), None)
        );
        // interval, interval(0), interval year to month, interval day to second(3), interval hour.
        for (modifier, decimals, smallest) in [
            (-1, 6, SmallestField::Second),
            (0x7fff_0000, 0, SmallestField::Second),
            ((0b110 << 16) | 0xffff, 6, SmallestField::Month),
            ((0x1c08 << 16) | 3, 3, SmallestField::Second),
            ((0x0400 << 16) | 0xffff, 6, SmallestField::Hour),
        ] {
            let fields = IntervalFields { decimals, smallest };
            assert_eq!(
                read("interval", modifier),
                PgType::Interval(fields),
                "{modifier:x}"
            );
        }
    }

    #[test]
    fn types_widen_without_loss_or_not_at_all() {
        let n = |p, s| PgType::Numeric(Some((p, s)));
        for (a, b, wide) in [
            (PgType::Int4, PgType::Int8, Some(PgType::Int8)),
            (PgType::Int8, PgType::Int2, Some(PgType::Int8)),
            (n(10, 2), n(8, 4), Some(n(12, 4))),
            (PgType::Int8, n(5, 2), Some(n(21, 2))),
            (PgType::Float4, PgType::Float8, Some(PgType::Float8)),
            (PgType::Int8, PgType::Float8, None),
            (PgType::Date, PgType::Int4, None),
        ] {
            assert_eq!(a.wider(&b), wide, "{a} {b}");
        }
    }
}
