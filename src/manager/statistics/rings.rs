//! Samples over time in rings of fixed size: the last minutes by the second, hours by ten seconds, a day by the minute. What
//! falls out of one ring is still in the next coarser one, as a mean.

#![forbid(unsafe_code)]

use std::{collections::VecDeque, mem};

/// Something that is measured again and again.
pub trait Sample: Clone {
    /// When, in seconds since 1970 (UTC).
    fn time(&self) -> u64;

    /// The mean of some; there is at least one.
    fn mean(samples: &[Self]) -> Self;
}

/// How fine a ring is, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Seconds that one sample stands for.
    pub step: u64,
    /// Samples that are kept.
    pub samples: usize,
}

/// The rings, the finest first: ten minutes by the second, two hours by ten seconds, a day by the minute.
pub const LEVELS: [Level; 3] =
    [Level { step: 1, samples: 600 }, Level { step: 10, samples: 720 }, Level { step: 60, samples: 1440 }];

/// Samples that are further apart than this many steps are not connected: nobody has looked between them.
const GAP_STEPS: u64 = 3;
/// Samples that are no further apart than this are connected, in seconds: an answer may have been late.
const GAP_LEAST: u64 = 10;

/// See the module.
#[derive(Debug, Clone)]
pub struct Rings<S> {
    rings: [Ring<S>; LEVELS.len()],
}

#[derive(Debug, Clone)]
struct Ring<S> {
    level: Level,
    samples: VecDeque<S>,
    /// What came since the last step was over.
    gathered: Vec<S>,
}

impl<S: Sample> Default for Rings<S> {
    fn default() -> Self {
        Self { rings: LEVELS.map(|level| Ring { level, samples: VecDeque::new(), gathered: Vec::new() }) }
    }
}

impl<S: Sample> Rings<S> {
    /// The samples of the finest ring, oldest first.
    pub fn fine(&self) -> impl ExactSizeIterator<Item = &S> {
        self.rings[0].samples.iter()
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<&S> {
        self.rings[0].samples.back()
    }

    /// Adds a sample, and drops the oldest ones, and those that are later: the host's clock was put back.
    pub fn push(&mut self, sample: S) {
        for ring in &mut self.rings {
            ring.push(sample.clone());
        }
    }

    /// The samples from `from` on, oldest first, by `step` seconds or what of the rings comes next below. What is older than
    /// that ring reaches is taken from coarser ones. A stretch ends where nobody has looked for a while.
    pub fn since(&self, from: u64, step: u64) -> Vec<Vec<S>> {
        let chosen = LEVELS.iter().rposition(|level| level.step <= step).unwrap_or(0);
        let mut pieces = Vec::new();
        let mut before = u64::MAX;
        for ring in &self.rings[chosen..] {
            let piece = ring.between(from, before);
            before = piece.first().map_or(before, |first| before.min(first.time()));
            pieces.push((ring.level.step, piece));
        }
        let steps =
            pieces.into_iter().rev().flat_map(|(step, piece)| piece.into_iter().map(move |sample| (step, sample)));
        stretches(steps)
    }

    /// The rings that are worth keeping: of each its step, and its samples with the one that is not over.
    pub(super) fn kept(&self) -> impl Iterator<Item = (u64, Vec<S>)> {
        self.rings[1..].iter().map(|ring| (ring.level.step, ring.between(0, u64::MAX)))
    }

    /// Takes over the samples of a ring that was kept. Those that are not in the order of time are left out.
    pub(super) fn restore(&mut self, step: u64, samples: impl IntoIterator<Item = S>) {
        let Some(ring) = self.rings.iter_mut().find(|ring| ring.level.step == step) else { return };
        for sample in samples {
            if ring.samples.back().is_none_or(|last| last.time() < sample.time()) {
                ring.keep(sample);
            }
        }
    }
}

impl<S: Sample> Ring<S> {
    fn push(&mut self, sample: S) {
        let step = self.level.step;
        let is_later = |kept: &S| kept.time() > sample.time();
        while self.samples.back().is_some_and(is_later) {
            self.samples.pop_back();
        }
        self.gathered.retain(|kept| !is_later(kept));
        if step == 1 {
            return self.keep(sample);
        }
        if self.gathered.first().is_some_and(|first| first.time() / step != sample.time() / step) {
            let mean = S::mean(&mem::take(&mut self.gathered));
            self.keep(mean);
        }
        self.gathered.push(sample);
    }

    fn keep(&mut self, sample: S) {
        while self.samples.len() >= self.level.samples {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The samples from `from` on and before `before`, with the one that is not over.
    fn between(&self, from: u64, before: u64) -> Vec<S> {
        let begun = (!self.gathered.is_empty()).then(|| S::mean(&self.gathered));
        let wanted = |sample: &S| (from..before).contains(&sample.time());
        self.samples.iter().cloned().chain(begun).filter(wanted).collect()
    }
}

/// Cuts samples, each with its step, where nobody has looked.
fn stretches<S: Sample>(samples: impl Iterator<Item = (u64, S)>) -> Vec<Vec<S>> {
    let mut stretches: Vec<Vec<S>> = Vec::new();
    let mut before = 0;
    for (step, sample) in samples {
        let gap = (GAP_STEPS * step.max(before)).max(GAP_LEAST);
        before = step;
        match stretches.last_mut() {
            Some(stretch) if stretch.last().is_some_and(|last| sample.time() <= last.time() + gap) => {
                stretch.push(sample)
            }
            _ => stretches.push(vec![sample]),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Number(u64, f32);

    impl Sample for Number {
        fn time(&self) -> u64 {
            self.0
        }

        fn mean(samples: &[Self]) -> Self {
            let last = samples.last().unwrap();
            Self(last.0, samples.iter().map(|sample| sample.1).sum::<f32>() / samples.len() as f32)
        }
    }

    fn of_days(days: u64) -> Rings<Number> {
        let mut rings = Rings::default();
        for time in 0..days * 24 * 60 * 60 {
            rings.push(Number(time, if time % 2 == 0 { 100.0 } else { 0.0 }));
        }
        rings
    }

    #[test]
    fn what_was_measured_before_the_clock_was_put_back_gives_way() {
        let mut rings = of_days(1);
        let now = 12 * 60 * 60 + 30;

        rings.push(Number(now, 7.0));

        for step in [1, 10, 60] {
            let times: Vec<u64> = rings.since(0, step).concat().iter().map(Sample::time).collect();
            assert!(times.is_sorted(), "by {step} seconds");
            assert_eq!(times.last(), Some(&now));
        }
    }

    #[test]
    fn every_ring_keeps_its_time_and_coarse_ones_keep_means() {
        let rings = of_days(2);
        let now = 2 * 24 * 60 * 60 - 1;

        let (minutes, hour, day) = (rings.since(now - 599, 1), rings.since(now - 3599, 10), rings.since(0, 60));

        assert_eq!(minutes.iter().map(Vec::len).collect::<Vec<_>>(), [600]);
        assert_eq!(hour[0].len(), 360);
        // A day, and the minute that is not over.
        assert_eq!(day[0].len(), 1441);
        assert!(day[0].iter().all(|sample| (sample.1 - 50.0).abs() < 0.01));
        assert_eq!(rings.latest().unwrap().0, now);
    }

    #[test]
    fn what_the_fine_ring_has_lost_comes_from_coarser_ones_without_holes() {
        let rings = of_days(1);
        let now = 24 * 60 * 60 - 1;

        let stretches = rings.since(0, 1);

        assert_eq!(stretches.len(), 1);
        let (first, last) = (stretches[0].first().unwrap().0, stretches[0].last().unwrap().0);
        assert!(first <= 60 && last == now, "{first} to {last}");
        assert!(stretches[0].is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn where_nobody_has_looked_a_stretch_ends() {
        let mut rings = Rings::default();
        for time in [100, 101, 105, 200, 201] {
            rings.push(Number(time, 1.0));
        }

        let times: Vec<Vec<u64>> =
            rings.since(0, 1).iter().map(|stretch| stretch.iter().map(|sample| sample.0).collect()).collect();

        assert_eq!(times, [vec![100, 101, 105], vec![200, 201]]);
    }

    #[test]
    fn what_was_kept_comes_back_before_what_is_new() {
        let mut old = Rings::default();
        (0..100).for_each(|time| old.push(Number(time, 1.0)));

        let mut rings = Rings::default();
        old.kept().for_each(|(step, samples)| rings.restore(step, samples));
        (100..110).for_each(|time| rings.push(Number(time, 2.0)));

        let stretches = rings.since(0, 1);
        assert_eq!(stretches.len(), 1);
        assert_eq!(stretches[0].first(), Some(&Number(9, 1.0)));
        assert_eq!(stretches[0].last(), Some(&Number(109, 2.0)));
    }

    #[test]
    fn kept_samples_out_of_order_or_of_an_unknown_ring_are_left_out() {
        let mut rings = Rings::default();

        rings.restore(60, [Number(60, 1.0), Number(30, 1.0), Number(120, 1.0)]);
        rings.restore(7, [Number(200, 1.0)]);

        assert_eq!(rings.since(0, 60), [vec![Number(60, 1.0), Number(120, 1.0)]]);
    }
}
