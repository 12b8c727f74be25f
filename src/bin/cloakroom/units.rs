//! Sizes and times for people: `1.5 KiB`, `2026-11-21T22:14:03Z`, `3 h`.
//!
//! Numbers may come from a damaged file or a strange dump: none is too large.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;

/// The time now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A point in time, to the second, in UTC.
pub(crate) fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (year, month, day) = civil_from_days(seconds / DAY_S);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970-01-01. This is
/// `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms", for days that are not negative: years begin in March, so that
/// the leap day is their last, and 400 of them have 146,097 days.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// How long until the deadline, in its largest unit.
pub(crate) fn left(deadline_ms: Option<u64>, now_ms: u64) -> String {
    let Some(deadline_ms) = deadline_ms else {
        return "for ever".into();
    };
    if deadline_ms <= now_ms {
        return "over".into();
    }
    let seconds = (deadline_ms - now_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY_S => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / DAY_S),
    }
}

/// A number of bytes.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in ["MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 would be printed as 1024.0.
        if number < 1023.95 {
            break;
        }
        number /= 1024.0;
        unit = larger;
    }
    format!("{number:.1} {unit}")
}

/// The number with its noun, which takes an `s` for all numbers but 1.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            ((1 << 48) - 1, "10889-08-02T05:31:50Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(time(ms), text);
        }
        assert!(time(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        let mut previous = civil_from_days(0);
        for days in 1..146_097 {
            let (year, month, day) = civil_from_days(days);
            let next_day = (year, month) == (previous.0, previous.1) && day == previous.2 + 1;
            let next_month = day == 1 && month == previous.1 + 1 && previous.2 >= 28;
            let next_year = (month, day) == (1, 1) && year == previous.0 + 1 && previous.1 == 12;
            assert!(next_day || next_month || next_year, "{days}: {year}-{month}-{day}");
            previous = (year, month, day);
        }
        assert_eq!(civil_from_days(146_097), (2370, 1, 1));
    }

    #[test]
    fn sizes_and_spans_have_one_unit() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_575, "1.0 MiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!(left(None, 5), "for ever");
        assert_eq!(left(Some(5), 5), "over");
        assert_eq!(left(Some(59_999), 0), "59 s");
        assert_eq!(left(Some(3_600_000), 1), "59 min");
        assert_eq!(left(Some(u64::MAX), 0), "213503982334 d");
        assert_eq!((count(1, "note"), count(0, "note")), ("1 note".into(), "0 notes".into()));
    }
}
