//! The name of a session, and the moment when it began, as clients read them. Called once for each connection of the sessions dialect. Knows no clock:
//! time and chance come with the connection.

/// Digits of a name: 62 to the power of 27 is just above 2 to the power of 160.
const DIGITS: usize = 27;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Seconds of a name count from here (May 2014), as they do in other programs that make names of this shape; they last until 2150.
const BEGINNING_S: u64 = 1_400_000_000;
const DAY_S: u64 = 86_400;

/// A name that nobody else has, in 27 characters of `0-9A-Za-z`: 4 bytes with the second, then 16 random ones. Names sort by the time of their making.
pub(super) fn session_id(now_ms: u64, chance: u128) -> String {
    let seconds = (now_ms / 1_000).saturating_sub(BEGINNING_S).min(u64::from(u32::MAX)) as u32;
    let mut limbs = [seconds, (chance >> 96) as u32, (chance >> 64) as u32, (chance >> 32) as u32, chance as u32];
    let mut digits = [0; DIGITS];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0;
        for limb in &mut limbs {
            let dividend = (rest << 32) | u64::from(*limb);
            (*limb, rest) = ((dividend / 62) as u32, dividend % 62);
        }
        *digit = ALPHABET[rest as usize];
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// `2026-01-31T23:59:00Z`: RFC 3339 in whole seconds.
pub(super) fn written(time_ms: u64) -> String {
    let time_s = time_ms / 1_000;
    let (mut year, mut days) = (1970, time_s / DAY_S);
    // An era of 400 years always has the same number of days.
    (year, days) = (year + days / 146_097 * 400, days % 146_097);
    loop {
        let length = 365 + u64::from(is_leap(year));
        if days < length {
            break;
        }
        (year, days) = (year + 1, days - length);
    }
    let mut month = 0;
    while days >= month_days(year, month) {
        (days, month) = (days - month_days(year, month), month + 1);
    }
    let (hour, minute, second) = (time_s / 3_600 % 24, time_s / 60 % 60, time_s % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// `month`: 0 to 11.
fn month_days(year: u64, month: usize) -> u64 {
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    DAYS[month] + u64::from(month == 1 && is_leap(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_27_characters_that_sort_by_time() {
        let cases = [
            (0, 0, "000000000000000000000000000"),
            (0, 61, "00000000000000000000000000z"),
            (0, 62, "000000000000000000000000010"),
            (1_400_000_000_999, u128::MAX, "000007n42DGM5Tflk9n8mt7Fhc7"),
            (u64::MAX, u128::MAX, "aWgEPTl1tmebfsQzFP4bxwgy80V"),
        ];
        for (now_ms, chance, expected) in cases {
            assert_eq!(session_id(now_ms, chance), expected, "{now_ms} {chance}");
        }
        let (earlier, later) = (session_id(1_763_924_400_000, u128::MAX), session_id(1_763_924_401_000, 0));
        assert!(earlier < later, "{earlier} {later}");
        assert_eq!((earlier.len(), later.len()), (27, 27));
    }

    #[test]
    fn moments_are_written_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_000, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_800_000, "2000-03-01T00:00:00Z"),
            (1_763_924_400_999, "2025-11-23T19:00:00Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (253_402_300_799_000, "9999-12-31T23:59:59Z"),
        ];
        for (time_ms, expected) in cases {
            assert_eq!(written(time_ms), expected, "{time_ms}");
        }
    }
}
