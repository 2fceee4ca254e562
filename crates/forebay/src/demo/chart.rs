//! A bar chart in text.

/// Width of the longest bar.
const WIDTH: usize = 40;

/// One line for each label, bars in eighths of a character.
pub(crate) fn bars(rows: &[(String, u64)]) -> Vec<String> {
    let most = rows
        .iter()
        .map(|(_, value)| *value)
        .max()
        .unwrap_or(0)
        .max(1);
    let label = rows
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0);
    let digits = most.to_string().len();
    rows.iter()
        .map(|(name, value)| format!("{name:>label$}  {value:>digits$}  {}", bar(*value, most)))
        .collect()
}

fn bar(value: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (value as f64 / most as f64 * (WIDTH * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_longest_bar_is_full() {
        let lines = super::bars(&[
            ("a".to_owned(), 80),
            ("bb".to_owned(), 1),
            ("c".to_owned(), 0),
        ]);
        assert_eq!(lines[0], format!(" a  80  {}", "█".repeat(40)));
        assert_eq!(lines[1], "bb   1  ▌");
        assert_eq!(lines[2], " c   0  ");
    }
}
