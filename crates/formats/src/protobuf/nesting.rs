//! How deep a schema is nested, before it is compiled: the compiler reads the values of options by recursion, and a deep one
//! would end the process.

/// Braces and brackets within each other in the text of a schema.
pub(super) const DEPTH_MAX: usize = 64;

/// Opening braces and brackets in one text of a compiled schema, where it is not known which are closed.
pub(super) const OPENINGS_MAX: usize = 256;

/// Whether the text of a schema is nested deeper than [`DEPTH_MAX`]. Brackets in comments and quoted texts do not count.
pub(super) fn is_deep_text(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let mut depth = 0_usize;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after.first()) {
            (b'#', _) | (b'/', Some(b'/')) => after_line(after),
            (b'/', Some(b'*')) => after_comment(&after[1..]),
            (b'"' | b'\'', _) => after_quoted(after, *byte),
            _ => after,
        };
        depth = match byte {
            byte if opens(*byte) => depth + 1,
            b'}' | b']' | b'>' => depth.saturating_sub(1),
            _ => depth,
        };
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// Whether a text within the bytes of a compiled schema may be nested deeper than [`OPENINGS_MAX`].
pub(super) fn is_deep_binary(bytes: &[u8]) -> bool {
    // What no text has: white space is from tab to carriage return.
    let ends = |byte: &u8| *byte < b'\t' || (*byte > b'\r' && *byte < b' ');
    let openings = |text: &[u8]| text.iter().filter(|byte| opens(**byte)).count();
    bytes.split(ends).any(|text| openings(text) > OPENINGS_MAX)
}

fn opens(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'<')
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b'\n');
    end.map_or(&[], |end| &text[end..])
}

fn after_comment(text: &[u8]) -> &[u8] {
    let end = text.windows(2).position(|pair| pair == b"*/");
    end.map_or(&[], |end| &text[end + 2..])
}

/// After the quote that closes a text, or its line: a text has one line.
fn after_quoted(text: &[u8], quote: u8) -> &[u8] {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\n' => return &text[at..],
            byte if *byte == quote => return &text[at + 1..],
            _ => at += 1,
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brackets_that_nest_count() {
        for flat in ["{}", "// {[<\n", "/* { */", "# {\n", "\"{\\\"{\"", "'['"] {
            assert!(!is_deep_text(&flat.repeat(1_000)), "{flat}");
        }
        for deep in [
            "{",
            "a { # }\n",
            "a < s: \"}\\\"}\" ",
            "[ /* ] */",
            "{ // }\n",
        ] {
            assert!(is_deep_text(&deep.repeat(65)), "{deep}");
            assert!(!is_deep_text(&deep.repeat(64)), "{deep}");
        }
        assert!(is_deep_binary(&b"{\x0b}".repeat(257)));
        assert!(!is_deep_binary(&b"\x12{\x18}".repeat(10_000)));
    }
}
