//! The names that a file may have had before a program rotated it. It only proposes candidates: inode and content decide.
//!
//! Programs that rotate logs keep the name and add to it (`app.log` to `app.log.1` or `app.log-20250131`), or add before its ending
//! (`app.log` to `app-20250131.log`).

/// Characters between a name and its suffix.
const SEPARATORS: [char; 3] = ['.', '-', '_'];

/// Most separators of a name that are considered, from its end.
const SEPARATORS_MAX: usize = 8;

/// Names in the same folder from which this name may be derived.
pub(super) fn earlier_names(name: &str) -> Vec<String> {
    let base_at = name.rfind('/').map_or(0, |at| at + 1);
    let ending_at = name.rfind('.').filter(|at| *at > base_at);
    let ending = ending_at.map_or("", |at| &name[at..]);
    let mut names = Vec::new();
    let separators = name.rmatch_indices(SEPARATORS);
    for (at, _) in separators.take(SEPARATORS_MAX) {
        if at <= base_at {
            break;
        }
        names.push(name[..at].to_owned());
        if ending_at.is_some_and(|ending_at| at < ending_at) {
            names.push(format!("{}{ending}", &name[..at]));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_lead_to_the_first_one() {
        for rotated in [
            "logs/app.log.1",
            "logs/app.log-20250131",
            "logs/app-20250131.log",
            "logs/app.2025-01-31.log",
            "logs/app.log.2025-01-31_00-00-00",
            "logs/app_1.log",
        ] {
            let names = earlier_names(rotated);
            assert!(
                names.iter().any(|name| name == "logs/app.log"),
                "{rotated}: {names:?}"
            );
        }
        for other in ["app.log", "a-b/app.log", "logs/.log", "a.b/c"] {
            let names = earlier_names(other);
            assert!(!names.iter().any(|name| name == "logs/app.log"), "{other}");
            let folder = other.rfind('/').map_or("", |at| &other[..=at]);
            assert!(
                names.iter().all(|name| name.starts_with(folder)),
                "{names:?}"
            );
        }
        let daily = earlier_names("export_2025-01-02.csv");
        assert!(!daily.iter().any(|name| name == "export_2025-01-01.csv"));
        assert!(earlier_names(&"a.".repeat(1_000)).len() <= 2 * SEPARATORS_MAX);
    }
}
