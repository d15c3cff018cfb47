//! What stands at the axes of a chart: round values with units, and times of the day.

use gtk::glib;

use crate::ui::{
    i18n::{gettext, gettext_f},
    wording,
};

/// What a chart's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A share of a whole, in percent.
    Percent,
    /// An amount of bytes.
    Bytes,
    /// Bytes a second.
    ByteRate,
    /// Something that is counted, a second.
    Rate,
}

impl Unit {
    /// A value for people.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Percent => wording::percent((value / 100.0) as f32),
            Self::Bytes => wording::bytes(value as u64),
            // Translators: an amount of bytes a second.
            Self::ByteRate => gettext_f("{bytes}/s", &[("bytes", &wording::bytes(value as u64))]),
            // Translators: how often something happens in a second.
            Self::Rate => gettext_f("{n}/s", &[("n", &count(value))]),
        }
    }

    /// The round value where the axis ends that has to reach `largest`.
    pub fn top(self, largest: f64) -> f64 {
        match self {
            Self::Percent => (largest / 50.0).ceil().max(2.0) * 50.0,
            Self::Bytes => power_of_two(largest, 1024.0 * 1024.0),
            Self::ByteRate => power_of_two(largest, 1024.0),
            Self::Rate => {
                let largest = largest.max(10.0);
                let ten = 10_f64.powf(largest.log10().floor());
                [1.0, 2.0, 4.0].into_iter().map(|step| step * ten).find(|&top| top >= largest).unwrap_or(10.0 * ten)
            }
        }
    }
}

/// The power of two that holds both.
fn power_of_two(largest: f64, least: f64) -> f64 {
    largest.max(least).log2().ceil().exp2()
}

/// A number for people: `950`, `1.2k`, `3.4M`.
fn count(value: f64) -> String {
    let (value, unit) = match value {
        ..1000.0 => return format!("{value:.0}"),
        ..1e6 => (value / 1e3, gettext("k")),
        _ => (value / 1e6, gettext("M")),
    };
    let digits = usize::from(value.fract() >= 0.05);
    format!("{value:.digits$}{unit}")
}

/// Distances between labels on the axis of time, in seconds.
const STEPS: [u64; 16] = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200];

/// Round moments from `from` to `until` (seconds since 1970), at most so many, with their labels in local time.
pub fn moments(from: u64, until: u64, most: usize) -> Vec<(u64, String)> {
    let span = until.saturating_sub(from);
    let step = STEPS.into_iter().find(|step| span / step <= most as u64).unwrap_or(86_400);
    // Local hours are round, not those of UTC.
    let offset = local(until).map_or(0, |moment| moment.utc_offset().as_seconds());
    let round = |time: u64| time.saturating_add_signed(offset).next_multiple_of(step).saturating_add_signed(-offset);
    let label = |time| Some((time, local(time)?.format(if step < 60 { "%H:%M:%S" } else { "%H:%M" }).ok()?.into()));
    (round(from)..=until).step_by(step as usize).filter_map(label).collect()
}

/// A moment of the last day, to the second.
pub fn moment(time: u64) -> String {
    local(time).and_then(|moment| moment.format("%H:%M:%S").ok()).map(Into::into).unwrap_or_default()
}

fn local(time: u64) -> Option<glib::DateTime> {
    glib::DateTime::from_unix_local(i64::try_from(time).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_value_that_holds_everything() {
        assert_eq!((Unit::Percent.top(3.0), Unit::Percent.top(130.0)), (100.0, 150.0));
        assert_eq!((Unit::Rate.top(0.0), Unit::Rate.top(950.0), Unit::Rate.top(1500.0)), (10.0, 1000.0, 2000.0));
        assert_eq!((Unit::ByteRate.top(0.0), Unit::ByteRate.top(3000.0)), (1024.0, 4096.0));
        assert_eq!(Unit::Bytes.top(64.0 * 1024.0 * 1024.0), 64.0 * 1024.0 * 1024.0);
        assert_eq!(Unit::Bytes.top(5.0 * 1024.0 * 1024.0), 8.0 * 1024.0 * 1024.0);
    }

    #[test]
    fn values_have_their_units() {
        assert_eq!((Unit::Percent.text(12.4), Unit::Bytes.text(2_147_483_648.0)), ("12%".into(), "2\u{a0}GiB".into()));
        assert_eq!((Unit::Rate.text(12.4), Unit::Rate.text(1234.0)), ("12/s".into(), "1.2k/s".into()));
        assert_eq!(Unit::Rate.text(4000.0), "4k/s");
    }

    #[test]
    fn moments_are_round_in_local_time_and_not_too_many() {
        let noon = glib::DateTime::from_local(2026, 11, 21, 12, 0, 0.0).unwrap().to_unix() as u64;

        let labels =
            |from, until| -> Vec<String> { moments(from, until, 5).into_iter().map(|(_, label)| label).collect() };

        assert_eq!(labels(noon - 590, noon + 10), ["11:52", "11:54", "11:56", "11:58", "12:00"]);
        assert_eq!(labels(noon - 55, noon + 5), ["11:59:15", "11:59:30", "11:59:45", "12:00:00"]);
        assert!(moments(noon - 86_400, noon, 5).len() <= 6);
    }
}
