//! Bounds as Iceberg keeps them: strings and bytes cut to a short prefix, the upper one rounded up.

/// Characters of a string, or bytes of a binary value, that a bound keeps.
pub(crate) const PREFIX_LENGTH: usize = 16;

/// A prefix of `text`: not above it.
pub(crate) fn lower_text(text: &str) -> String {
    text.chars().take(PREFIX_LENGTH).collect()
}

/// The shortest text of at most [`PREFIX_LENGTH`] characters that is not below anything starting like `text`;
/// `None` when there is none.
pub(crate) fn upper_text(text: &str) -> Option<String> {
    let mut prefix: Vec<char> = text.chars().take(PREFIX_LENGTH + 1).collect();
    if prefix.len() <= PREFIX_LENGTH {
        return Some(text.to_owned());
    }
    prefix.truncate(PREFIX_LENGTH);
    after_prefix(prefix)
}

/// The shortest text above everything that starts with `prefix`; `None` when there is none.
pub(crate) fn after_prefix(mut prefix: Vec<char>) -> Option<String> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = next_char(last) {
            prefix.push(next);
            return Some(prefix.into_iter().collect());
        }
    }
    None
}

/// The next character in the order of UTF-8 bytes, which is the order of code points.
fn next_char(c: char) -> Option<char> {
    match c {
        '\u{D7FF}' => Some('\u{E000}'),
        char::MAX => None,
        c => char::from_u32(u32::from(c) + 1),
    }
}

pub(crate) fn lower_bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take(PREFIX_LENGTH).collect()
}

pub(crate) fn upper_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= PREFIX_LENGTH {
        return Some(bytes.to_vec());
    }
    after_bytes(bytes[..PREFIX_LENGTH].to_vec())
}

/// The shortest bytes above everything that starts with `prefix`; `None` when there are none.
pub(crate) fn after_bytes(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cut_upper_bound_is_rounded_up() {
        assert_eq!(upper_text("abc").as_deref(), Some("abc"));
        assert_eq!(
            upper_text("0123456789abcdefg").as_deref(),
            Some("0123456789abcdeg")
        );
        let surrogate = format!("{}\u{D7FF}x", "a".repeat(15));
        assert_eq!(
            upper_text(&surrogate),
            Some(format!("{}\u{E000}", "a".repeat(15)))
        );
        let highest = format!("b{}", char::MAX.to_string().repeat(20));
        assert_eq!(upper_text(&highest).as_deref(), Some("c"));
        assert_eq!(upper_text(&char::MAX.to_string().repeat(17)), None);
        assert_eq!(upper_bytes(&[255; 17]), None);
    }

    proptest! {
        #[test]
        fn bounds_enclose(text in "\\PC{0,40}", raw in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(lower_text(&text).as_str() <= text.as_str());
            prop_assert!(upper_text(&text).is_none_or(|upper| upper.as_str() >= text.as_str() && upper.chars().count() <= PREFIX_LENGTH));
            prop_assert!(lower_bytes(&raw) <= raw);
            prop_assert!(upper_bytes(&raw).is_none_or(|upper| upper >= raw));
        }
    }
}
