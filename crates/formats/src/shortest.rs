//! The shortest decimal forms of a float.

use std::fmt::LowerExp;
use std::iter::{once, once_with};

/// The shortest texts that read back as `value`, as `d.ddde±n`. Of two that are equally near some programs print the even
/// one (JavaScript, Python), others either: 2^50 / 3 rounded to a quarter, …775.25, is …775.2 or …775.3. The other
/// one does not mean that the number was rounded.
///
/// The second is only made on request: nearly always the first is the text in the data.
pub fn shortest_forms<F: LowerExp>(value: F) -> impl Iterator<Item = String> {
    let shortest = format!("{value:e}");
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let places = digits.saturating_sub(1);
    once(shortest).chain(once_with(move || format!("{value:.places$e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_two_that_are_equally_near_are_known() {
        let both = |value: f64| shortest_forms(value).collect::<Vec<_>>();
        let mut forms = both(1_363_552_795_898_775.3);
        forms.sort();
        assert_eq!(forms, ["1.3635527958987752e15", "1.3635527958987753e15"]);
        assert_eq!(both(0.1), ["1e-1", "1e-1"]);
        assert_eq!(both(f64::MAX), ["1.7976931348623157e308"; 2]);
    }
}
