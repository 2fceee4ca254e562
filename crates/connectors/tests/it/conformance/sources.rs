//! What each source promises to a run.

use forebay_connectors::source::SourceContext;
use forebay_core::{Position, SystemClock};
use forebay_formats::framing::Framing;

use super::sites::{SOURCE_SITES, SourceSite};

/// The bytes of everything that is read after a position, with the position after each chunk that has one.
#[derive(Debug, Default)]
struct Pulled {
    bytes: Vec<u8>,
    /// How many bytes came before each position.
    positions: Vec<(usize, Position)>,
    end: Option<Position>,
}

async fn pull(site: &SourceSite, position: Option<Position>) -> Pulled {
    let clock = SystemClock::shared();
    let context = SourceContext::alone(clock, site.folder.path(), Framing::Whole).unwrap();
    let split = site.source.splits(&context).await.unwrap().remove(0);
    let mut reader = site.source.open(&split, position, context).await.unwrap();
    let mut pulled = Pulled::default();
    while let Some(chunk) = reader.next().await.unwrap() {
        pulled.bytes.extend_from_slice(&chunk.bytes);
        if let Some(position) = chunk.position {
            pulled.positions.push((pulled.bytes.len(), position));
        }
    }
    let last = pulled
        .positions
        .last()
        .map(|(_, position)| position.clone());
    pulled.end = reader.end_position().or(last);
    pulled
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_after_each_position_and_ends() {
    for (name, site) in SOURCE_SITES {
        let Some(site) = site().await else { continue };
        let all = pull(&site, None).await;
        assert!(
            all.bytes.len() > 20 && !all.positions.is_empty(),
            "{name}: {all:?}"
        );
        for (read, position) in &all.positions {
            let rest = pull(&site, Some(position.clone())).await;
            let wanted = &all.bytes[*read..];
            assert_eq!(rest.bytes, wanted, "{name} after {position}");
        }
        // A source may ask again for what has just come, and recognizes it.
        let again = pull(&site, all.end.clone()).await;
        assert!(again.bytes.len() < all.bytes.len(), "{name}: {again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_gives_the_same_bytes_each_time() {
    for (name, site) in SOURCE_SITES {
        let Some(site) = site().await else { continue };
        let once = pull(&site, None).await;
        assert_eq!(once.bytes, pull(&site, None).await.bytes, "{name}");
    }
}
