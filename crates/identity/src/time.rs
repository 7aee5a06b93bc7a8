//! Times and durations as people write and read them. Called by command lines, error texts and `inspect`. Knows no clock and no time
//! zone but UTC.

/// The last second of the year 9999, the last that RFC 3339 can write.
pub(crate) const YEAR_9999_S: u64 = 253_402_300_799;

const DAY_S: u64 = 86_400;

/// Seconds of `90s`, `15m`, `1h` or `7d`. `None` for anything else, for none and for more than 100 years.
pub fn parse_duration_s(text: &str) -> Option<u64> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", DAY_S)];
    let (digits, unit_s) = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(*unit_s)?;
    (1..=36_525 * DAY_S).contains(&seconds).then_some(seconds)
}

/// `2026-01-31T23:59:00Z`, or the number where RFC 3339 has no text for it.
pub fn rfc3339(time_s: u64) -> String {
    if time_s > YEAR_9999_S {
        return format!("{time_s} s after 1970");
    }
    let (year, month, day) = date(time_s / DAY_S);
    let (hour, minute, second) = (time_s / 3_600 % 24, time_s / 60 % 60, time_s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day in the Gregorian calendar: in eras of 400 years that begin on 1 March, so that the leap day is a year's last
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// `in 12 min`, `3 h ago` or `this second`.
pub(crate) fn relative(time_s: u64, now_s: u64) -> String {
    let length = length(time_s.abs_diff(now_s));
    match time_s.cmp(&now_s) {
        std::cmp::Ordering::Greater => format!("in {length}"),
        std::cmp::Ordering::Equal => "this second".to_owned(),
        std::cmp::Ordering::Less => format!("{length} ago"),
    }
}

/// A length of time in the largest unit that it has two of, rounded down.
fn length(seconds: u64) -> String {
    let units = [("days", DAY_S), ("h", 3_600), ("min", 60)];
    let unit = units.iter().find(|(_, unit_s)| seconds >= 2 * unit_s);
    unit.map_or_else(|| format!("{seconds} s"), |(unit, unit_s)| format!("{} {unit}", seconds / unit_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800), ("007s", 7), ("36525d", 3_155_760_000)];
        for (text, seconds) in cases {
            assert_eq!(parse_duration_s(text), Some(seconds), "{text}");
        }
        for text in
            ["", "s", "0s", "0d", "1", "-1h", "+1h", "1.5h", "1 h", "1w", "1H", "36526d", "99999999999999999999d"]
        {
            assert_eq!(parse_duration_s(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (YEAR_9999_S, "9999-12-31T23:59:59Z"),
            (YEAR_9999_S + 1, "253402300800 s after 1970"),
            (u64::MAX, "18446744073709551615 s after 1970"),
        ];
        for (time_s, text) in cases {
            assert_eq!(rfc3339(time_s), text);
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let cases = [
            (1_000, "this second"),
            (1_001, "in 1 s"),
            (1_119, "in 119 s"),
            (1_120, "in 2 min"),
            (1_720, "in 12 min"),
            (1_000 + 7_200, "in 2 h"),
            (1_000 + 2 * DAY_S, "in 2 days"),
            (940, "60 s ago"),
            (0, "16 min ago"),
        ];
        for (time_s, text) in cases {
            assert_eq!(relative(time_s, 1_000), text, "{time_s}");
        }
    }
}
