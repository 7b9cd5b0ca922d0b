//! `time`: days and times of day, in UTC.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "time",
    help: "Matches by date, time of day, day of the week and of the month.",
    families: ANY,
    size: 24,
    make,
    ..Extension::MATCH
}];

const LOCAL: u8 = 1;
/// A night counts as the day that it began on.
const CONTIGUOUS: u8 = 2;
const NS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;
/// All days of a month (`XT_TIME_ALL_MONTHDAYS`).
const ALL_DAYS: u32 = 0xffff_fffe;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (from, until) = (u64::from(info.u32(0)), u64::from(info.u32(4)));
    let (start, stop) = (u64::from(info.u32(8)), u64::from(info.u32(12)));
    let (month_days, week_days, flags) = (info.u32(16), info.u8(20), info.u8(21));
    if start >= DAY || stop >= DAY {
        return Err(Errno::EDOM.into());
    }
    refuse_if(flags & !(LOCAL | CONTIGUOUS) != 0)?;
    let contiguous = flags & CONTIGUOUS != 0;
    refuse_if(contiguous && start < stop)?;
    Ok(matches(move |cx| {
        let mut now = cx.place.wall / NS;
        let of_day = now % DAY;
        let within = if start < stop {
            (start..=stop).contains(&of_day)
        } else {
            of_day >= start || of_day <= stop
        };
        if !(from..=until).contains(&now) || !within {
            return false;
        }
        if contiguous && of_day <= stop {
            now = now.saturating_sub(DAY);
        }
        let day = now / DAY;
        // 1970 began on a Thursday; Monday is 1, Sunday 7.
        let of_week = (day + 3) % 7 + 1;
        week_days >> of_week & 1 == 1
            && (month_days == ALL_DAYS || month_days >> day_of_month(day) & 1 == 1)
    }))
}

/// The day of the month, from 1, of a day since 1970. Counted in years that begin in March, so that the leap day is the last.
const fn day_of_month(day: u64) -> u64 {
    const BEFORE_1970: u64 = 719_468;
    const ERA: u64 = 146_097;
    let of_era = (day + BEFORE_1970) % ERA;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    of_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_month_are_those_of_the_calendar() {
        let mut day = 0;
        for year in 1970..2110u64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let months = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (of_month, length) in months.into_iter().enumerate() {
                for expected in 1..=length {
                    assert_eq!(day_of_month(day), expected, "{year}, month {of_month}");
                    day += 1;
                }
            }
        }
    }
}
