//! Names of files: which commit of which split made one. Never opens a file.

use std::fmt;

use forebay_core::{Ident, RunId};

/// The name of a file without its extension: `part-all-0000000012-01jd…-0001`. Names of a split sort by its commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartName {
    pub(super) split: Ident,
    /// Commits of the split before the one that made the file.
    pub(super) sequence: i64,
    pub(super) run: RunId,
    /// Counts the files of a commit from 1.
    pub(super) number: u32,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            split,
            sequence,
            run,
            number,
        } = self;
        write!(f, "part-{split}-{sequence:010}-{run}-{number:04}")
    }
}

impl PartName {
    /// Reads the name of a file with its extension; `None` for a file that no version with these names has made.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (stem, _) = file.split_once('.')?;
        let mut fields = stem.strip_prefix("part-")?.split('-');
        let name = Self {
            split: fields.next()?.parse().ok()?,
            sequence: fields.next()?.parse().ok()?,
            run: fields.next()?.parse().ok()?,
            number: fields.next()?.parse().ok()?,
        };
        (fields.next().is_none() && name.to_string() == stem).then_some(name)
    }
}

/// The hidden name of a file that is being written: `.part-all-01jd…-1.tmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemporaryName {
    pub(super) split: Ident,
    pub(super) run: RunId,
    pub(super) number: u32,
}

impl fmt::Display for TemporaryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { split, run, number } = self;
        write!(f, ".part-{split}-{run}-{number}.tmp")
    }
}

impl TemporaryName {
    pub(super) fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_prefix(".part-")?.strip_suffix(".tmp")?;
        let mut fields = stem.split('-');
        let name = Self {
            split: fields.next()?.parse().ok()?,
            run: fields.next()?.parse().ok()?,
            number: fields.next()?.parse().ok()?,
        };
        (fields.next().is_none() && name.to_string() == file).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::Timestamp;

    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not() {
        let run = RunId::new(Timestamp(1_700_000_000_000_000), 7);
        let split: Ident = "p_1".parse().unwrap();
        let name = PartName {
            split: split.clone(),
            sequence: 12,
            run,
            number: 3,
        };
        let file = format!("{name}.parquet");
        assert_eq!(file, format!("part-p_1-0000000012-{run}-0003.parquet"));
        assert_eq!(PartName::parse(&file), Some(name));
        let temporary = TemporaryName {
            split,
            run,
            number: 4,
        };
        assert_eq!(
            TemporaryName::parse(&temporary.to_string()),
            Some(temporary)
        );
        let others = [
            "part-00000001.csv".to_owned(),
            format!("part-p_1-12-{run}-0003.csv"),
            format!("part-p_1-0000000012-{run}-0003"),
            format!("part-p_1-0000000012-{run}-0003-x.csv"),
            "notes.csv".to_owned(),
        ];
        for other in others {
            assert_eq!(PartName::parse(&other), None, "{other}");
        }
        assert_eq!(TemporaryName::parse(".part-4711-0.tmp"), None);
    }
}
