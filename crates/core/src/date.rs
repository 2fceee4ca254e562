//! Days as dates of the calendar, for every day there is: chrono's end at the year 262142.

/// A date of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CivilDate {
    pub year: i64,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

/// Days of 400 years, after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from the first of March of year 0 to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;

impl CivilDate {
    /// The date of a day since 1970-01-01, after Hinnant's `civil_from_days`. Days of `i32`, and of microseconds in `i64`, are exact.
    #[must_use]
    pub fn of_day(day: i64) -> Self {
        let shifted = day + DAYS_BEFORE_1970;
        let era = shifted.div_euclid(DAYS_PER_ERA);
        let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Years begin in March here, so that a leap day is the last of its year.
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: small(month),
            day: small(day_of_year - (153 * from_march + 2) / 5 + 1),
        }
    }
}

fn small(value: i64) -> u8 {
    u8::try_from(value).expect("months and days of a month are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_of_the_calendar() {
        for (day, year, month, date) in [
            (0, 1970, 1, 1),
            (-1, 1969, 12, 31),
            (11_016, 2000, 2, 29),
            (-719_162, 1, 1, 1),
            (-719_163, 0, 12, 31),
            (2_932_896, 9999, 12, 31),
            (i64::from(i32::MAX), 5_881_580, 7, 11),
            (i64::from(i32::MIN), -5_877_641, 6, 23),
        ] {
            let expected = CivilDate {
                year,
                month,
                day: date,
            };
            assert_eq!(CivilDate::of_day(day), expected, "{day}");
        }
    }
}
