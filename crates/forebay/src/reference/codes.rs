//! The page about error codes.

use forebay_core::Explanation;

use super::Page;
use crate::explain;

pub(super) fn page() -> Page {
    let mut body = "An error shows its code in brackets, `error[bad_url]`; a refused record has it in the column `code` of the quarantine table, a refused request in `error.code` of the answer. `forebay explain CODE` prints the same text.\n".to_owned();
    for Explanation {
        code,
        cause,
        remedy,
    } in explain::all()
    {
        body.push_str(&format!(
            "\n## {code}\n\n{cause}\n\n**What to do:** {remedy}\n"
        ));
    }
    Page::new("errors.md", "Error codes", &body)
}
