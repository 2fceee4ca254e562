//! Explanations of error codes: what happened and what to do next.
//!
//! Each crate has those of the codes that it makes in a file `codes.md`, with a heading for each code; a tidy test
//! compares these files with the sources. This module only reads them.

/// The remedy of a code whose explanation has none: the error is a fault in Forebay itself.
pub const INTERNAL_REMEDY: &str = "Report it with the whole message, `forebay --version` and the log around it: it is a fault in Forebay. What was committed is not affected.";

/// Begins the paragraph that says what to do next.
const REMEDY: &str = "Remedy: ";

/// The meaning of one error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    pub code: &'static str,
    /// What happened and why.
    pub cause: &'static str,
    /// What to do next.
    pub remedy: &'static str,
}

/// The explanations of a file `codes.md`, in its order.
pub fn explanations(file: &'static str) -> impl Iterator<Item = Explanation> {
    let sections = file.split("\n## ").skip(1);
    sections.map(|section| {
        let (code, text) = section.split_once('\n').unwrap_or((section, ""));
        let (cause, remedy) = match text.split_once(REMEDY) {
            Some((cause, remedy)) => (cause, remedy),
            None => (text, INTERNAL_REMEDY),
        };
        Explanation {
            code: code.trim(),
            cause: cause.trim(),
            remedy: remedy.trim(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_a_code_with_cause_and_remedy() {
        let file = "# Codes\n\n## bad_url\n\nThe URL is not valid.\n\nRemedy: write `http://`.\n\n## panic\n\nIt panicked.\n";
        let found: Vec<Explanation> = explanations(file).collect();
        let bad_url = Explanation {
            code: "bad_url",
            cause: "The URL is not valid.",
            remedy: "write `http://`.",
        };
        assert_eq!(found[0], bad_url);
        assert_eq!(found[1].code, "panic");
        assert_eq!(found[1].remedy, INTERNAL_REMEDY);
    }
}
