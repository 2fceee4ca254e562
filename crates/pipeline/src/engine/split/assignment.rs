//! Assigns the splits of a pipeline to this process.
//!
//! A bounded run takes every split, some concurrently. A continuous run shares them with every other process that runs the
//! pipeline: each registers as a member, and takes its fair share. A process with too many splits releases some at their
//! next commit, one with too few takes free ones; a dead process counts as a member until its lease expires. The assignment
//! is a hint like a lease: two processes that both claim a split are kept apart by its epoch.

use std::collections::BTreeMap;

use forebay_core::{Error, Ident, Result};
use forebay_store::Member;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::engine::split::lease::{self, Run};

/// Works on the splits until their sources have nothing more, or the run is cancelled.
pub(in crate::engine) async fn work(run: &Run, splits: Vec<Ident>) -> Result<()> {
    if !run.spec.source.capabilities().is_shared {
        for split in splits {
            let stop = run.context.cancel.clone();
            run.clone().split(split, stop).await?;
        }
        return Ok(());
    }
    let mut crew = Crew::new(run, splits);
    let outcome = match run.context.follow {
        true => crew.follow().await,
        false => crew.finish().await,
    };
    let ended = crew.end().await;
    outcome.and(ended)
}

/// The splits assigned to this process.
struct Crew<'r> {
    run: &'r Run,
    splits: Vec<Ident>,
    at_work: JoinSet<(Ident, Result<()>)>,
    stops: BTreeMap<Ident, CancellationToken>,
    /// Target number of splits of this process; `None` before it is known.
    wanted: Option<usize>,
}

impl<'r> Crew<'r> {
    fn new(run: &'r Run, splits: Vec<Ident>) -> Self {
        Self {
            run,
            splits,
            at_work: JoinSet::new(),
            stops: BTreeMap::new(),
            wanted: None,
        }
    }

    /// All of them to their end, as many concurrently as there are cores.
    async fn finish(&mut self) -> Result<()> {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        for split in self.splits.clone() {
            if self.stops.len() >= at_once
                && let Some(done) = self.at_work.join_next().await
            {
                self.done(done)?.1?;
            }
            self.start(split);
        }
        while let Some(done) = self.at_work.join_next().await {
            self.done(done)?.1?;
        }
        Ok(())
    }

    /// The assigned share, until the run is cancelled or a source ends.
    async fn follow(&mut self) -> Result<()> {
        let clock = &self.run.context.clock;
        let cancel = &self.run.context.cancel;
        let attend_every = self.run.context.lease / 4;
        loop {
            let wanted = self.fall_to_us().await?;
            self.let_go(wanted);
            self.take(wanted).await?;
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(done) = self.at_work.join_next() => {
                    let (was_asked, outcome) = self.done(done)?;
                    match outcome {
                        Err(error) if lease::is_anothers(&error) => taken_over(&error),
                        Err(error) => return Err(error),
                        Ok(()) if !was_asked => return Ok(()),
                        Ok(()) => {}
                    }
                }
                () = clock.sleep(attend_every) => {}
            }
        }
    }

    fn member(&self) -> Member {
        let context = &self.run.context;
        Member {
            branch: context.branch.clone(),
            pipeline: self.run.spec.name.clone(),
            owner: context.owner.clone(),
            duration: context.lease,
        }
    }

    async fn fall_to_us(&mut self) -> Result<usize> {
        let all = self.splits.len();
        if self.run.context.exclusive {
            return Ok(all);
        }
        let member = self.member();
        let members = self.run.context.lake.store().attend(&member).await;
        let wanted = match (members, self.wanted) {
            (Ok(members), _) => share(&members, &member, all),
            (Err(error), None) => return Err(error),
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "could not refresh pipeline membership, keeping the current assignment");
                known
            }
        };
        if self.wanted.replace(wanted) != Some(wanted) {
            tracing::info!(wanted, of = all, "split assignment changed");
        }
        Ok(wanted)
    }

    fn at_work(&self) -> usize {
        let stops = self.stops.values();
        stops.filter(|stop| !stop.is_cancelled()).count()
    }

    /// Surplus splits end at their next commit.
    fn let_go(&self, wanted: usize) {
        let surplus = self.at_work().saturating_sub(wanted);
        let held = self.stops.values().rev();
        for stop in held.filter(|stop| !stop.is_cancelled()).take(surplus) {
            stop.cancel();
        }
    }

    /// Acquires free splits, up to `wanted`. While others of its splits are active, an unavailable store does not end them.
    async fn take(&mut self, wanted: usize) -> Result<()> {
        for split in self.splits.clone() {
            if self.at_work() >= wanted {
                break;
            }
            if self.stops.contains_key(&split) {
                continue;
            }
            match self.is_free(&split).await {
                Ok(true) => self.start(split),
                Ok(false) => {}
                Err(error) if self.stops.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "could not look up free splits, continuing with the active ones");
                    break;
                }
            }
        }
        Ok(())
    }

    async fn is_free(&self, split: &Ident) -> Result<bool> {
        let context = &self.run.context;
        if context.exclusive {
            return Ok(true);
        }
        let pipeline = &self.run.spec.name;
        let now = context.clock.now();
        let store = context.lake.store();
        let until = store.held_until(&context.branch, pipeline, split, now);
        Ok(until.await?.is_none())
    }

    fn start(&mut self, split: Ident) {
        let stop = self.run.context.cancel.child_token();
        self.stops.insert(split.clone(), stop.clone());
        let work = self.run.clone().split(split.clone(), stop);
        let work = async move { (split, work.await) };
        self.at_work.spawn(work.in_current_span());
    }

    /// Whether a finished split was cancelled, and its result.
    fn done(&mut self, done: Result<(Ident, Result<()>), JoinError>) -> Result<(bool, Result<()>)> {
        let (split, outcome) = done.map_err(|error| {
            Error::bug("split_panicked", "the work on a split panicked").with_source(error)
        })?;
        let stop = self.stops.remove(&split);
        Ok((stop.is_some_and(|stop| stop.is_cancelled()), outcome))
    }

    /// Releases all splits at their next commit, and waits for that.
    async fn end(&mut self) -> Result<()> {
        self.stops.values().for_each(CancellationToken::cancel);
        let mut outcome = Ok(());
        while let Some(done) = self.at_work.join_next().await {
            match self.done(done).and_then(|(_, outcome)| outcome) {
                Err(error) if self.run.context.follow && lease::is_anothers(&error) => {
                    taken_over(&error);
                }
                one => outcome = outcome.and(one),
            }
        }
        if self.wanted.is_some()
            && let Err(error) = self.run.context.lake.store().leave(&self.member()).await
        {
            tracing::debug!(%error, "could not deregister, peers will wait for the lease to expire");
        }
        outcome
    }
}

fn taken_over(error: &Error) {
    tracing::info!(%error, "another process has taken over the split");
}

/// A member's share of `splits`. The members with one more than the others differ from pipeline to pipeline, so that many
/// pipelines of one split are spread too.
fn share(members: &[String], me: &Member, splits: usize) -> usize {
    let order = |owner: &str| {
        let both = format!("{owner}/{}", me.pipeline);
        (crc32fast::hash(both.as_bytes()), owner.to_owned())
    };
    let mine = order(&me.owner);
    let others = members.iter().filter(|owner| **owner != me.owner);
    let before = others.clone().filter(|owner| order(owner) < mine).count();
    let all = others.count() + 1;
    splits / all + usize::from(before < splits % all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn member(owner: &str, pipeline: &str) -> Member {
        Member {
            branch: forebay_core::RefName::main(),
            pipeline: pipeline.parse().unwrap(),
            owner: owner.to_owned(),
            duration: Duration::from_secs(1),
        }
    }

    proptest! {
        #[test]
        fn every_split_falls_to_somebody_and_nobody_has_two_more(members in 1_usize..20, splits in 0_usize..300) {
            let members: Vec<String> = (0..members).map(|n| format!("{n}-{:x}", n * 77_777)).collect();
            let shares: Vec<usize> = members.iter().map(|owner| share(&members, &member(owner, "p"), splits)).collect();
            prop_assert_eq!(shares.iter().sum::<usize>(), splits);
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn pipelines_of_one_split_are_spread() {
        let members = ["17-aaaa".to_owned(), "18-bbbb".to_owned()];
        let pipelines = (0..100).map(|n| format!("pipeline_{n}"));
        let first = pipelines.map(|pipeline| share(&members, &member("17-aaaa", &pipeline), 1));
        let first: usize = first.sum();
        assert!((25..75).contains(&first), "{first} of 100");
    }
}
