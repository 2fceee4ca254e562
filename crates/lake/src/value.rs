//! Iceberg's literals as [`Value`]s in the table's present types.

use iceberg::spec::{PrimitiveLiteral, PrimitiveType};

/// A value in a bound, in the table's type of that column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    Int(i32),
    /// Also a time of day, in microseconds.
    Long(i64),
    Float(f32),
    Double(f64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 (UTC for `timestamptz`).
    Timestamp(i64),
    /// Unscaled value; precision and scale are the column's.
    Decimal(i128),
    String(String),
    /// Also a UUID or a fixed number of bytes.
    Binary(Vec<u8>),
}

impl Value {
    /// `None` when the literal is not of the type, nor of one that was widened to it, or when the type has no
    /// [`Value`] (nanoseconds).
    pub(crate) fn of(literal: &PrimitiveLiteral, kind: &PrimitiveType) -> Option<Self> {
        Some(match (kind, literal) {
            (PrimitiveType::Boolean, PrimitiveLiteral::Boolean(v)) => Self::Boolean(*v),
            (PrimitiveType::Int, PrimitiveLiteral::Int(v)) => Self::Int(*v),
            (PrimitiveType::Long, PrimitiveLiteral::Int(v)) => Self::Long(i64::from(*v)),
            (PrimitiveType::Long | PrimitiveType::Time, PrimitiveLiteral::Long(v)) => {
                Self::Long(*v)
            }
            (PrimitiveType::Float, PrimitiveLiteral::Float(v)) => Self::Float(v.0),
            (PrimitiveType::Double, PrimitiveLiteral::Float(v)) => Self::Double(f64::from(v.0)),
            (PrimitiveType::Double, PrimitiveLiteral::Double(v)) => Self::Double(v.0),
            (PrimitiveType::Date, PrimitiveLiteral::Int(v)) => Self::Date(*v),
            (PrimitiveType::Timestamp | PrimitiveType::Timestamptz, PrimitiveLiteral::Long(v)) => {
                Self::Timestamp(*v)
            }
            (PrimitiveType::Decimal { .. }, PrimitiveLiteral::Int128(v)) => Self::Decimal(*v),
            (PrimitiveType::String, PrimitiveLiteral::String(v)) => Self::String(v.clone()),
            (PrimitiveType::Binary | PrimitiveType::Fixed(_), PrimitiveLiteral::Binary(v)) => {
                Self::Binary(v.clone())
            }
            (PrimitiveType::Uuid, PrimitiveLiteral::UInt128(v)) => {
                Self::Binary(v.to_be_bytes().to_vec())
            }
            _ => return None,
        })
    }

    /// Whether `self` comes before `other` of the same type, in the order that queries compare in (`-0.0 < 0.0 < NaN`).
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a < b,
            (Self::Int(a), Self::Int(b)) | (Self::Date(a), Self::Date(b)) => a < b,
            (Self::Long(a), Self::Long(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a < b,
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b).is_lt(),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b).is_lt(),
            (Self::Decimal(a), Self::Decimal(b)) => a < b,
            (Self::String(a), Self::String(b)) => a < b,
            (Self::Binary(a), Self::Binary(b)) => a < b,
            _ => false,
        }
    }

    /// A value at or below this one that no spelling of the same number undercuts; `None` for NaN, which cannot be a bound.
    pub(crate) fn into_lower(self) -> Option<Self> {
        match self {
            Self::Float(v) => (!v.is_nan()).then_some(Self::Float(if v == 0.0 { -0.0 } else { v })),
            Self::Double(v) => {
                (!v.is_nan()).then_some(Self::Double(if v == 0.0 { -0.0 } else { v }))
            }
            other => Some(other),
        }
    }

    /// As [`Value::into_lower`], from above.
    pub(crate) fn into_upper(self) -> Option<Self> {
        match self {
            Self::Float(v) => (!v.is_nan()).then_some(Self::Float(if v == 0.0 { 0.0 } else { v })),
            Self::Double(v) => {
                (!v.is_nan()).then_some(Self::Double(if v == 0.0 { 0.0 } else { v }))
            }
            other => Some(other),
        }
    }
}
