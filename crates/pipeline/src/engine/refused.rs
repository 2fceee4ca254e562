//! The error of a run that refused every record: nothing landed, although its source was read to the end.

use forebay_core::Error;

use super::figures::Figures;
use crate::spec::PipelineSpec;

/// Code of the error of a run that refused every record.
pub const ALL_REFUSED: &str = "all_records_refused";

/// Why the present run, or the last one, counts as failed: every record that it read is in quarantine.
pub fn all_refused(spec: &PipelineSpec, figures: &Figures) -> Option<Error> {
    let (refused, first) = figures.refused_all()?;
    let records = match refused {
        1 => format!("1 record was refused; {first}"),
        refused => format!("{refused} records were refused; the first: {first}"),
    };
    let what = format!("{}: no rows were loaded, {records}", spec.name);
    Some(Error::data(ALL_REFUSED, what).with_hint(hint(spec)))
}

/// The next step for the refused records, of which a replay is only one where the target takes it.
fn hint(spec: &PipelineSpec) -> String {
    let name = &spec.name;
    let look = format!("look with `forebay quarantine ls {name}`; after a fix, ");
    if spec.load.replaces() {
        return format!("{look}`forebay run {name}` reads everything again");
    }
    if spec
        .load
        .lake()
        .is_some_and(|target| !target.knows_the_newer_row())
    {
        return format!("{look}load corrected records");
    }
    match spec.takes_replay() {
        true => format!("{look}`forebay quarantine replay {name}` loads them"),
        false => format!("{look}{}", without_replay(spec)),
    }
}

/// What to do instead of a replay into a target that keeps no position.
pub(in crate::engine) fn without_replay(spec: &PipelineSpec) -> String {
    format!(
        "load everything again into another place (for files, another folder in `load.file.path`): `forebay run {} --full`",
        spec.name
    )
}
