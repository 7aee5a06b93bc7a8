//! Moments as ISO-8601 texts: read with any offset and any fraction, written with milliseconds and `Z`.
//!
//! The calendar is the Gregorian one, also before there was one, in the years 0 to 9999. Finer than a millisecond is cut off, as browsers do. A text without an
//! offset names no moment, and is not read; nor is a leap second, which no browser reads.

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const YEAR_DAYS: i64 = 365;
/// From the first of January of the year 0 to that of 1970.
const EPOCH_DAYS: i64 = 719_528;
/// Days before each month of a year that is no leap year.
const MONTH_DAYS: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

/// Milliseconds since the Unix epoch of `2025-01-17T14:27:39.502Z` and the like. None: it is no moment.
pub fn parse(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let year = number(&mut rest, 4)?;
    let month = separated(&mut rest, b"-")?;
    let day = separated(&mut rest, b"-")?;
    let hour = separated(&mut rest, b"Tt")?;
    let minute = separated(&mut rest, b":")?;
    let (mut second, mut millisecond) = (0, 0);
    if rest.first() == Some(&b':') {
        second = separated(&mut rest, b":")?;
        millisecond = fraction(&mut rest)?;
    }
    let offset_ms = offset(rest)?;
    let day_max = days_of_month(year, month)?;
    if !(1..=day_max).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_before_year(year) + days_before_month(year, month) + day - 1 - EPOCH_DAYS;
    Some(days * DAY_MS + (hour * 60 + minute) * MINUTE_MS + second * 1_000 + millisecond - offset_ms)
}

/// The text for a moment. What lies outside the years 0 to 9999 becomes their first or last millisecond.
pub fn written(time_ms: i64) -> String {
    let first = -EPOCH_DAYS * DAY_MS;
    let last = (days_before_year(10_000) - EPOCH_DAYS) * DAY_MS - 1;
    let time_ms = time_ms.clamp(first, last);
    let (days, of_day) = (time_ms.div_euclid(DAY_MS) + EPOCH_DAYS, time_ms.rem_euclid(DAY_MS));
    // No year is longer than 366 days, so this is the year or one before it.
    let mut year = days / (YEAR_DAYS + 1);
    while days_before_year(year + 1) <= days {
        year += ((days - days_before_year(year)) / (YEAR_DAYS + 1)).max(1);
    }
    let day_of_year = days - days_before_year(year);
    let month = (1..=12).rev().find(|month| days_before_month(year, *month) <= day_of_year).unwrap_or(1);
    let day = day_of_year - days_before_month(year, month) + 1;
    let (hour, minute) = (of_day / (60 * MINUTE_MS), of_day / MINUTE_MS % 60);
    let (second, millisecond) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from the first of January of the year 0 on.
fn days_before_year(year: i64) -> i64 {
    let leap_years = (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    year * YEAR_DAYS + leap_years
}

fn days_before_month(year: i64, month: i64) -> i64 {
    MONTH_DAYS[(month - 1).clamp(0, 12) as usize] + i64::from(month > 2 && is_leap(year))
}

/// None: there is no such month.
fn days_of_month(year: i64, month: i64) -> Option<i64> {
    if !(1..=12).contains(&month) {
        return None;
    }
    let days = MONTH_DAYS[month as usize] - MONTH_DAYS[month as usize - 1];
    Some(days + i64::from(month == 2 && is_leap(year)))
}

/// A number of exactly so many digits.
fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (text, behind) = rest.split_at_checked(digits)?;
    *rest = behind;
    let digit = |value: i64, byte: &u8| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'));
    text.iter().try_fold(0, digit)
}

/// Two digits behind one of these.
fn separated(rest: &mut &[u8], separators: &[u8]) -> Option<i64> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    if separators.contains(first) { number(rest, 2) } else { None }
}

/// Milliseconds of `.5` and the like, or 0.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    let Some((b'.', behind)) = rest.split_first() else { return Some(0) };
    let count = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, behind) = behind.split_at(count);
    *rest = behind;
    let place = |place: usize| digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    (count > 0).then(|| place(0) * 100 + place(1) * 10 + place(2))
}

/// Milliseconds of `Z`, `+01:00`, `-0330` or `+01`, which has to be the end.
fn offset(mut rest: &[u8]) -> Option<i64> {
    let sign = match rest.split_first()? {
        (b'Z' | b'z', []) => return Some(0),
        (b'+', behind) => {
            rest = behind;
            1
        }
        (b'-', behind) => {
            rest = behind;
            -1
        }
        _ => return None,
    };
    let hours = number(&mut rest, 2)?;
    let minutes = match rest.first() {
        None => 0,
        Some(b':') => separated(&mut rest, b":")?,
        Some(_) => number(&mut rest, 2)?,
    };
    (rest.is_empty() && hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * MINUTE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_moment_however_it_is_written() {
        let moment = 1_737_124_059_502;
        let texts = [
            "2025-01-17T14:27:39.502Z",
            "2025-01-17t14:27:39.502z",
            "2025-01-17T14:27:39.502999999999Z",
            "2025-01-17T15:27:39.502+01:00",
            "2025-01-17T15:27:39.502+01",
            "2025-01-17T09:57:39.502-0430",
            "2025-01-18T14:26:39.502+23:59",
        ];
        for text in texts {
            assert_eq!(parse(text), Some(moment), "{text}");
        }
        assert_eq!(written(moment), texts[0]);
        let others = [
            ("1970-01-01T00:00Z", 0),
            ("1970-01-01T00:00:00.5Z", 500),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ];
        for (text, moment) in others {
            assert_eq!(parse(text), Some(moment), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_moment() {
        let texts = [
            "",
            "now",
            "2025",
            "2025-01-17",
            "2025-01-17T14:27:39.502",
            "2025-01-17 14:27:39Z",
            "2025-1-17T14:27:39Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2025-04-31T00:00:00Z",
            "2025-01-17T24:00:00Z",
            "2025-01-17T14:60:00Z",
            "2025-01-17T14:27:60Z",
            "2025-01-17T14:27:39.Z",
            "2025-01-17T14:27.5Z",
            "2025-01-17T14:27:39ZZ",
            "2025-01-17T14:27:39+24:00",
            "2025-01-17T14:27:39+01:60",
            "2025-01-17T14:27:39+1",
            "+002025-01-17T14:27:39Z",
            "-2025-01-17T14:27:39Z",
            "2025-01-17T14:27:3\u{663}Z",
            "\u{1d7d0}025-01-17T14:27:39Z",
        ];
        for text in texts {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_month_of_the_calendar_begins_and_ends_where_it_should() {
        let (mut year, mut month, mut day) = (0, 1, 1);
        let mut days = -EPOCH_DAYS;
        while year < 10_000 {
            let is_leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
            let long = match month {
                2 => 28 + i64::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            if day == 1 || day == 28 || day == long {
                let text = format!("{year:04}-{month:02}-{day:02}T23:59:59.999Z");
                let moment = (days + 1) * DAY_MS - 1;
                assert_eq!((parse(&text), written(moment)), (Some(moment), text));
            }
            (days, day) = (days + 1, day + 1);
            if day > long {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(
            (written(i64::MIN), written(i64::MAX)),
            ("0000-01-01T00:00:00.000Z".to_owned(), "9999-12-31T23:59:59.999Z".to_owned())
        );
    }
}
