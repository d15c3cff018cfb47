//! Days and seconds to the calendar's fields and back, as a clock chip counts them.

#![forbid(unsafe_code)]

const DAY: i64 = 24 * 60 * 60;

/// A moment in the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// With its century.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 1 (Sunday) to 7.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn year_days(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_days(year: i64, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Calendar {
    /// The moment `seconds` after the beginning of 1970.
    pub fn from_seconds(seconds: i64) -> Self {
        let (mut days, time) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // 1970 began on a Thursday.
        let weekday = (days + 4).rem_euclid(7) as u8 + 1;
        let mut year = 1970;
        while days < 0 {
            year -= 1;
            days += year_days(year);
        }
        while days >= year_days(year) {
            days -= year_days(year);
            year += 1;
        }
        let mut month = 1;
        while days >= i64::from(month_days(year, month)) {
            days -= i64::from(month_days(year, month));
            month += 1;
        }
        Self {
            year,
            month,
            day: days as u8 + 1,
            weekday,
            hour: (time / 3600) as u8,
            minute: (time / 60 % 60) as u8,
            second: (time % 60) as u8,
        }
    }

    /// Seconds since the beginning of 1970, or `None` when there is no such moment between the years 0 and 9999.
    pub fn seconds(&self) -> Option<i64> {
        let valid = (0..10_000).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=month_days(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        let years: i64 = if self.year >= 1970 {
            (1970..self.year).map(year_days).sum()
        } else {
            -(self.year.max(0)..1970).map(year_days).sum::<i64>()
        };
        let months: i64 = (1..self.month.min(12)).map(|month| i64::from(month_days(self.year, month))).sum();
        let time = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        valid.then_some((years + months + i64::from(self.day) - 1) * DAY + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_have_their_fields() {
        for (seconds, fields) in [
            (0, (1970, 1, 1, 5, 0, 0, 0)),
            (951_782_400, (2000, 2, 29, 3, 0, 0, 0)),
            (1_709_251_199, (2024, 2, 29, 5, 23, 59, 59)),
            (4_102_444_800, (2100, 1, 1, 6, 0, 0, 0)),
            (-1, (1969, 12, 31, 4, 23, 59, 59)),
        ] {
            let moment = Calendar::from_seconds(seconds);

            let Calendar { year, month, day, weekday, hour, minute, second } = moment;
            assert_eq!((year, month, day, weekday, hour, minute, second), fields);
            assert_eq!(moment.seconds(), Some(seconds));
        }
    }

    #[test]
    fn every_day_of_four_centuries_goes_there_and_back() {
        for day in -40_000..110_000i64 {
            assert_eq!(Calendar::from_seconds(day * DAY).seconds(), Some(day * DAY));
        }
    }

    #[test]
    fn what_is_not_in_the_calendar_is_refused() {
        let good = Calendar::from_seconds(0);
        for bad in [
            Calendar { month: 0, ..good },
            Calendar { month: 13, ..good },
            Calendar { month: 200, ..good },
            Calendar { day: 0, ..good },
            Calendar { day: 30, month: 2, ..good },
            Calendar { hour: 24, ..good },
            Calendar { minute: 60, ..good },
            Calendar { second: 165, ..good },
            Calendar { year: 10_000, ..good },
            Calendar { year: -5, ..good },
        ] {
            assert_eq!(bad.seconds(), None, "{bad:?}");
        }
    }
}
