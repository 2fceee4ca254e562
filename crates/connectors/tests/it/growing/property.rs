//! Any text, cut anywhere.

use forebay_formats::csv::{Piece, RecordScan};
use proptest::prelude::*;

use super::*;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(work)
}

/// The beginnings of `text` that end at these places, and the whole.
fn beginnings<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    ends.push(text.len());
    ends.sort_unstable();
    ends.into_iter().map(|end| &text[..end]).collect()
}

/// The records of a text without the header, if it has more than that.
fn pieces(extractor: &dyn Extractor, text: &[u8]) -> Vec<Piece> {
    let heading = extractor.heading();
    let mut scan = RecordScan::of_file(heading.dialect.unwrap(), heading);
    scan.push(text);
    std::iter::from_fn(|| scan.next(true)).skip(1).collect()
}

/// The records that were loaded because the end of a part cut or closed them, and then loaded again as they are.
fn repeated(extractor: &dyn Extractor, texts: &[&[u8]]) -> usize {
    let count = |pair: &[&[u8]]| {
        let (before, after) = (pieces(extractor, pair[0]), pieces(extractor, pair[1]));
        let agreed = before.iter().zip(&after).take_while(|(a, b)| a == b);
        before.len() - agreed.count()
    };
    texts.windows(2).map(count).sum()
}

/// Whether a sorted list has all of another, each as often.
fn has_all(all: &[String], some: &[String]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|text| rest.any(|other| other == text))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn parts_of_a_csv_file_give_what_the_whole_gives(
        body in "([0-9](,|\t|;)?|[ab ]|\"|\"\"|,\"|\r\n|\n|\r|\n[0-9],){0,40}",
        skipped in "[\"a]{0,3}(\n|\r\n|\r)",
        (skips, trims) in any::<(bool, bool)>(),
        delimiter in prop::sample::select(vec![",", "tab", ";"]),
        follow in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..3),
    ) {
        let extract = format!("csv: {{delimiter: '{delimiter}', trim: {trims}, skip_lines: {}}}", u8::from(skips));
        let header = "id,s\n".replace(',', delimiter.replace("tab", "\t").as_str());
        let skipped = if skips { skipped } else { String::new() };
        let text = format!("{skipped}{header}{body}");
        let texts = beginnings(text.as_bytes(), &cuts);
        let keys = if follow { "follow: true" } else { "" };
        let of = |contents: Vec<&[u8]>| block_on(Growing::new("a.csv", &extract, keys).load(&contents));
        let whole = of(vec![text.as_bytes()]);
        let parts = of(texts.clone());
        if follow {
            prop_assert_eq!(&parts, &whole);
            return Ok(());
        }
        let growing = Growing::new("a.csv", &extract, keys);
        let repeated = repeated(growing.extractor.as_ref(), &texts);
        prop_assert!(has_all(&parts.rows, &whole.rows), "{:?} {:?}", parts, whole);
        prop_assert!(has_all(&parts.refused, &whole.refused), "{:?} {:?}", parts, whole);
        let count = |outcome: &Outcome| outcome.rows.len() + outcome.refused.len();
        prop_assert_eq!(count(&parts), count(&whole) + repeated, "{:?} {:?}", parts, whole);
    }

    #[test]
    fn streams_that_are_cut_anywhere_are_loaded_once(
        counts in prop::collection::vec(1_u32..4, 1..4),
        is_gzip in any::<bool>(),
        is_csv in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
    ) {
        let mut ids = 0..;
        let mut bytes = Vec::new();
        for count in counts {
            let line = |id: u32| if is_csv { format!("{id},x\n") } else { format!("{{\"id\": {id}}}\n") };
            let text: String = ids.by_ref().take(count as usize).map(line).collect();
            let compress = if is_gzip { forebay_testkit::gzip } else { forebay_testkit::zstd };
            bytes.extend(compress(text.as_bytes()));
        }
        let extract = if is_csv { "csv: {header: false}" } else { "json: {}" };
        let name = format!("a.ndjson.{}", if is_gzip { "gz" } else { "zst" });
        let of = |contents: Vec<&[u8]>| block_on(Growing::new(&name, extract, "").load(&contents));
        prop_assert_eq!(of(beginnings(&bytes, &cuts)), of(vec![&bytes]));
    }
}
