//! How the partitions of a topic are assigned to its splits, and how positions change when that changes.
//!
//! Partition `p` belongs to share `p mod n`, so that partitions that are added later are assigned, too.

use std::collections::BTreeMap;

use forebay_core::{Error, Ident, Position, Result};

use super::position::{Place, State};

/// The only split of a topic that is not shared.
const WHOLE: &str = "topic";

/// One of the parts that a topic is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    index: i32,
    of: i32,
}

impl Share {
    /// All shares of a topic that is divided into `of`.
    pub(super) fn all(of: u16) -> impl Iterator<Item = Self> {
        let of = i32::from(of.max(1));
        (0..of).map(move |index| Self { index, of })
    }

    /// The share of this name.
    pub(super) fn find(of: u16, split: &Ident) -> Result<Self> {
        for share in Self::all(of) {
            if &share.split()? == split {
                return Ok(share);
            }
        }
        let what = format!("the topic has no split {split}");
        Err(Error::bug("kafka_split", what))
    }

    pub(super) fn split(self) -> Result<Ident> {
        match self.of {
            1 => WHOLE.parse(),
            of => format!("share_{}_of_{of}", self.index).parse(),
        }
    }

    pub(super) fn has(self, partition: i32) -> bool {
        partition.rem_euclid(self.of) == self.index
    }
}

/// New positions of a topic that was divided differently before; `None` when `positions` already match the division, or
/// there are none.
///
/// Errors: `Data` `bad_position`.
pub(super) fn rearranged(
    topic: &str,
    of: u16,
    positions: &[(Ident, Position)],
    full: bool,
) -> Result<Option<Vec<(Ident, Position)>>> {
    let splits: Vec<Ident> = Share::all(of).map(Share::split).collect::<Result<_>>()?;
    let mut starts = Starts::default();
    let mut former = Vec::new();
    for (split, position) in positions {
        let place = Place::parse(position)?;
        if place.state == State::Closed {
            continue;
        }
        if !splits.contains(split) {
            former.push(split.clone());
        }
        // A full run may read another topic.
        if !full || place.topic == topic {
            place.check_topic(topic)?;
            merge(&mut starts.next, place.next)?;
            starts.topic_id = starts.topic_id.or(place.topic_id);
        }
    }
    if former.is_empty() {
        return Ok(None);
    }
    let mut moves = dealt(topic, of, &starts)?;
    for split in former {
        moves.push((split, Place::closed(topic).write()?));
    }
    Ok(Some(moves))
}

/// Where to start in the partitions of a topic.
#[derive(Debug, Clone, Default)]
pub(super) struct Starts {
    pub(super) next: BTreeMap<i32, i64>,
    /// The topic that has these offsets, where the cluster has ids.
    pub(super) topic_id: Option<String>,
}

/// Converts offsets of partitions to positions of the shares.
pub(super) fn dealt(topic: &str, of: u16, starts: &Starts) -> Result<Vec<(Ident, Position)>> {
    let one = |share: Share| {
        let all = starts.next.iter();
        let own = all.filter(|(partition, _)| share.has(**partition));
        let own = Starts {
            next: own.map(|(partition, next)| (*partition, *next)).collect(),
            topic_id: starts.topic_id.clone(),
        };
        let place = Place::dealt(topic, own);
        Ok((share.split()?, place.write()?))
    };
    Share::all(of).map(one).collect()
}

fn merge(all: &mut BTreeMap<i32, i64>, one: BTreeMap<i32, i64>) -> Result<()> {
    for (partition, next) in one {
        if all.insert(partition, next).is_some() {
            let what = format!("partition {partition} has two positions");
            return Err(Error::data("bad_position", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(positions: &BTreeMap<Ident, Position>) -> BTreeMap<i32, i64> {
        let mut all = BTreeMap::new();
        for (split, position) in positions {
            let place = Place::parse(position).unwrap();
            if place.state != State::Closed {
                let of = split.as_str().rsplit_once("_of_");
                let of = of.map_or(1, |(_, of)| of.parse().unwrap());
                let share = Share::find(of, split).unwrap();
                assert!(
                    place.next.keys().all(|partition| share.has(*partition)),
                    "{split}: {position}"
                );
                merge(&mut all, place.next).unwrap();
            }
        }
        all
    }

    fn starts(next: &BTreeMap<i32, i64>) -> Starts {
        Starts {
            next: next.clone(),
            topic_id: Some("id".to_owned()),
        }
    }

    proptest! {
        /// However often the topic is repartitioned, each partition has one offset, and it is the one that was reached.
        #[test]
        fn no_place_is_lost_or_doubled(partitions in 1..40_i32, divisions in prop::collection::vec((1_u16..9, 0..100_i64), 1..8)) {
            let mut reached: BTreeMap<i32, i64> = (0..partitions).map(|partition| (partition, 7)).collect();
            let mut positions: BTreeMap<Ident, Position> = dealt("t", 1, &starts(&reached)).unwrap().into_iter().collect();
            for (of, read) in divisions {
                let known: Vec<_> = positions.clone().into_iter().collect();
                for (split, position) in rearranged("t", of, &known, false).unwrap().unwrap_or_default() {
                    positions.insert(split, position);
                }
                prop_assert_eq!(&open(&positions), &reached);
                let known: Vec<_> = positions.clone().into_iter().collect();
                prop_assert_eq!(rearranged("t", of, &known, false).unwrap(), None);
                for share in Share::all(of) {
                    let split = share.split().unwrap();
                    let mut place = Place::read(&positions[&split], "t").unwrap();
                    place.next.values_mut().for_each(|next| *next += read);
                    positions.insert(split, place.write().unwrap());
                }
                reached.values_mut().for_each(|next| *next += read);
            }
        }
    }

    #[test]
    fn a_split_that_is_divided_is_read_no_more() {
        let next = BTreeMap::from([(0, 5), (1, 6)]);
        let whole = dealt("t", 1, &starts(&next)).unwrap();
        let moves = rearranged("t", 2, &whole, false).unwrap().unwrap();
        let (split, closed) = moves.last().unwrap();
        assert_eq!(split.as_str(), WHOLE);
        let error = Place::read(closed, "t").unwrap_err();
        assert_eq!(error.code(), crate::source::REARRANGED);
        assert_eq!(moves.len(), 3);
    }
}
