//! The shortest decimal forms of a float.

use std::fmt::LowerExp;

/// The shortest texts that read back as `value`, as `d.ddde±n`. Of two that are equally near some programs print the even one
/// (JavaScript, Python), others either: 2^50 / 3 rounded to a quarter, …775.25, is …775.2 or …775.3. Nobody has rounded when it is
/// the other.
pub(crate) fn shortest_forms<F: LowerExp>(value: F) -> [String; 2] {
    let shortest = format!("{value:e}");
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let places = digits.saturating_sub(1);
    let even = format!("{value:.places$e}");
    [shortest, even]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_two_that_are_equally_near_are_known() {
        let mut forms = shortest_forms(1_363_552_795_898_775.3_f64);
        forms.sort();
        assert_eq!(forms, ["1.3635527958987752e15", "1.3635527958987753e15"]);
        assert_eq!(shortest_forms(0.1_f64), ["1e-1", "1e-1"]);
        assert_eq!(shortest_forms(f64::MAX), ["1.7976931348623157e308"; 2]);
    }
}
