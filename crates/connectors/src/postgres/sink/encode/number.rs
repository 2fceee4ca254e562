//! `numeric`: digits to the base of 10,000, aligned at the point.

use arrow::datatypes::i256;
use bytes::{BufMut, BytesMut};

use super::Misfit;

/// Groups of four digits that a decimal of 76 digits may need, with one more for the place of the point.
const GROUPS_MAX: usize = 21;

const NEGATIVE: i16 = 0x4000;

/// Digits in groups of four, lowest group first.
struct Groups {
    groups: [i16; GROUPS_MAX],
    count: usize,
}

impl Groups {
    fn push(&mut self, group: i16) {
        self.groups[self.count] = group;
        self.count += 1;
    }
}

/// A number that can be split from its low end.
pub(super) trait Digits: Copy {
    fn is_zero(self) -> bool;
    /// The rest and the last `n` digits, `n` at most 4.
    fn cut(self, n: u32) -> (Self, i16);
}

impl Digits for u64 {
    fn is_zero(self) -> bool {
        self == 0
    }

    fn cut(self, n: u32) -> (Self, i16) {
        let base = 10_u64.pow(n);
        (self / base, (self % base) as i16)
    }
}

impl Digits for u128 {
    fn is_zero(self) -> bool {
        self == 0
    }

    fn cut(self, n: u32) -> (Self, i16) {
        let base = 10_u128.pow(n);
        (self / base, (self % base) as i16)
    }
}

impl Digits for i256 {
    fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    fn cut(self, n: u32) -> (Self, i16) {
        let base = Self::from_i128(10_i128.pow(n));
        // Neither is zero nor does it overflow: the base is positive.
        let rest = self.wrapping_div(base);
        let last = self.wrapping_rem(base);
        (rest, last.as_i128() as i16)
    }
}

/// Appends `number / 10^scale`, negated when `negative`.
pub(super) fn put<D: Digits>(number: D, negative: bool, scale: u32, out: &mut BytesMut) {
    let mut groups = Groups {
        groups: [0; GROUPS_MAX],
        count: 0,
    };
    let mut rest = number;
    let odd = scale % 4;
    if odd > 0 {
        let (next, last) = rest.cut(odd);
        groups.push(last * 10_i16.pow(4 - odd));
        rest = next;
    }
    while !rest.is_zero() {
        let (next, last) = rest.cut(4);
        groups.push(last);
        rest = next;
    }
    let fraction = scale.div_ceil(4) as usize;
    let mut digits = &groups.groups[..groups.count];
    // The place of the highest group: 0 holds the ones.
    let mut weight = groups.count as i16 - fraction as i16 - 1;
    while let Some((0, others)) = digits.split_last() {
        digits = others;
        weight -= 1;
    }
    while let Some((0, others)) = digits.split_first() {
        digits = others;
    }
    out.put_i16(digits.len() as i16);
    out.put_i16(if digits.is_empty() { 0 } else { weight });
    out.put_i16(if negative && !digits.is_empty() {
        NEGATIVE
    } else {
        0
    });
    out.put_u16(scale as u16);
    for digit in digits.iter().rev() {
        out.put_i16(*digit);
    }
}

/// Appends a decimal of up to 38 digits; small ones, which are the many, without 128-bit division.
pub(super) fn put_128(value: i128, scale: u32, out: &mut BytesMut) {
    let magnitude = value.unsigned_abs();
    let negative = value < 0;
    match u64::try_from(magnitude) {
        Ok(small) => put(small, negative, scale, out),
        Err(_) => put(magnitude, negative, scale, out),
    }
}

/// Rejects a value that the column would round: `scale` is that of the column, negative for zeros before the point.
pub(super) fn check_scale(is_kept: bool, scale: i16) -> Result<(), Misfit> {
    if is_kept {
        return Ok(());
    }
    if scale < 0 {
        let zeros = scale.unsigned_abs();
        let reason = format!("the column rounds to multiples of 10^{zeros}");
        return Err(Misfit::new("number_not_exact", reason));
    }
    let reason = format!("more than the {scale} decimals that the column keeps");
    Err(Misfit::new("too_many_decimals", reason))
}

/// Whether `value`, of `scale` decimals, is the same in a column that keeps `kept` of them.
pub(super) fn is_kept_128(value: i128, scale: u32, kept: i16) -> bool {
    match 10_i128.checked_pow(dropped(scale, kept)) {
        Some(step) => value % step == 0,
        None => value == 0,
    }
}

/// [`is_kept_128`] for 76 digits.
pub(super) fn is_kept_256(value: i256, scale: u32, kept: i16) -> bool {
    match i256::from_i128(10).checked_pow(dropped(scale, kept)) {
        Some(step) => value.wrapping_rem(step) == i256::ZERO,
        None => value == i256::ZERO,
    }
}

/// Digits at the end of a value that a column does not keep.
fn dropped(scale: u32, kept: i16) -> u32 {
    let dropped = i64::from(scale) - i64::from(kept);
    u32::try_from(dropped).unwrap_or(0)
}
