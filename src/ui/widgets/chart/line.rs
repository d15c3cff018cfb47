//! A line of a chart: values over time, with gaps where nothing is known.

/// Values are told for moments this part of the shown time away, at most.
const NEAR: u64 = 60;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// Moments (seconds since 1970) with values, oldest first; each stretch is connected.
    pub stretches: Vec<Vec<(u64, f64)>>,
}

impl Line {
    /// The line of what `value` says of samples, which come as connected stretches of moments.
    pub fn new<'a, S: 'a>(
        stretches: impl IntoIterator<Item = &'a Vec<S>>,
        time: impl Fn(&S) -> u64,
        value: impl Fn(&S) -> Option<f64>,
    ) -> Self {
        let mut line = Self::default();
        for samples in stretches {
            let points = samples.iter().map(|sample| value(sample).map(|value| (time(sample), value)));
            let points: Vec<_> = points.collect();
            let known = points.split(Option::is_none).map(|known| known.iter().copied().flatten().collect());
            line.stretches.extend(known.filter(|stretch: &Vec<_>| !stretch.is_empty()));
        }
        line
    }

    /// The largest value.
    pub fn largest(&self) -> f64 {
        self.points().map(|(_, value)| value).fold(0.0, f64::max)
    }

    /// The moment and the value nearest to `time` where so many seconds are shown, if there is one near enough.
    pub fn near(&self, time: u64, shown: u64) -> Option<(u64, f64)> {
        let nearest = self.points().min_by_key(|(moment, _)| moment.abs_diff(time));
        nearest.filter(|(moment, _)| moment.abs_diff(time) <= (shown / NEAR).max(3))
    }

    fn points(&self) -> impl Iterator<Item = (u64, f64)> {
        self.stretches.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stretches: &[Vec<(u64, Option<f64>)>]) -> Line {
        Line::new(stretches, |sample| sample.0, |sample| sample.1)
    }

    #[test]
    fn what_is_not_known_is_a_gap() {
        let line = line(&[vec![(1, Some(1.0)), (2, None), (3, Some(3.0))], vec![(9, None)]]);

        assert_eq!(line.stretches, [vec![(1, 1.0)], vec![(3, 3.0)]]);
        assert_eq!(line.largest(), 3.0);
    }

    #[test]
    fn a_moment_has_the_value_that_is_nearest_but_none_in_a_gap() {
        let line = line(&[vec![(100, Some(1.0)), (102, Some(2.0))], vec![(500, Some(3.0))]]);

        assert_eq!(line.near(103, 600), Some((102, 2.0)));
        assert_eq!(line.near(300, 600), None);
    }
}
