//! The primitive encodings of lib0: varints, strings, byte arrays.
//!
//! Used by `wire`, `structs` and the dialects. Reading is total: it never panics, and never allocates, because what it
//! returns are slices of the input. Values above 2^53-1 and integers longer than 8 bytes are refused; over-long forms such as `80 00` for 0
//! are read, since the JavaScript decoder reads them. Knows nothing of Yjs.

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The input ends inside a value.
    #[error("ends in the middle of a value")]
    Truncated,
    /// An integer of more than 8 bytes, or above 2^53-1.
    #[error("integer above 2^53-1")]
    IntegerTooBig,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    NotUtf8,
}

/// The largest integer that JavaScript represents exactly.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// A place in a byte slice, moving forward.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The bytes between an earlier position and this one.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start.min(self.at)..self.at]
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        let byte = *self.bytes.get(self.at).ok_or(ReadError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let end = self.at.checked_add(count).ok_or(ReadError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(ReadError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// varUint: little endian base 128, at most 8 bytes, at most 2^53-1.
    #[inline]
    pub fn var_uint(&mut self) -> Result<u64, ReadError> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.var_uint_rest(u64::from(first & 0x7f))
    }

    fn var_uint_rest(&mut self, mut value: u64) -> Result<u64, ReadError> {
        for shift in (7..56).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if value <= INTEGER_MAX { Ok(value) } else { Err(ReadError::IntegerTooBig) };
            }
        }
        Err(ReadError::IntegerTooBig)
    }

    /// varInt, its value unused: sign and six bits in the first byte, then seven bits a byte.
    pub fn skip_var_int(&mut self) -> Result<(), ReadError> {
        if self.u8()? < 0x80 {
            return Ok(());
        }
        for _ in 0..7 {
            if self.u8()? < 0x80 {
                return Ok(());
            }
        }
        Err(ReadError::IntegerTooBig)
    }

    /// varBytes: varUint length, then that many bytes.
    #[inline]
    pub fn var_bytes(&mut self) -> Result<&'a [u8], ReadError> {
        let length = self.var_uint()?;
        self.take(usize::try_from(length).map_err(|_| ReadError::Truncated)?)
    }

    /// varString: varBytes holding UTF-8.
    #[inline]
    pub fn var_string(&mut self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.var_bytes()?).map_err(|_| ReadError::NotUtf8)
    }
}

/// Appends a varUint.
#[inline]
pub fn write_var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends varBytes.
pub fn write_var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Length in UTF-16 units, which is how Yjs counts text.
#[inline]
pub fn utf16_len(text: &[u8]) -> usize {
    text.iter().map(|&byte| usize::from(byte & 0xc0 != 0x80) + usize::from(byte >= 0xf0)).sum()
}

/// Where the UTF-16 unit number `unit` begins in UTF-8 `text`, and whether that is the second half of a surrogate pair
/// (the byte place is then that of the whole character).
pub fn utf16_place(text: &[u8], unit: usize) -> (usize, bool) {
    let mut units = 0;
    for (place, &byte) in text.iter().enumerate() {
        if byte & 0xc0 == 0x80 {
            continue;
        }
        let width = 1 + usize::from(byte >= 0xf0);
        if units + width > unit {
            return (place, units < unit);
        }
        units += width;
    }
    (text.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip_at_the_borders() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, (1 << 31) - 1, 1 << 31, u64::from(u32::MAX), INTEGER_MAX] {
            let mut bytes = Vec::new();
            write_var_uint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.var_uint(), reader.is_empty()), (Ok(value), true));
        }
    }

    #[test]
    fn hostile_integers_are_refused() {
        let cases: [(&[u8], Result<u64, ReadError>); 6] = [
            (&[0x80, 0x00], Ok(0)),
            (&[0x80], Err(ReadError::Truncated)),
            (&[], Err(ReadError::Truncated)),
            (&[0xff; 8], Err(ReadError::IntegerTooBig)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x10], Err(ReadError::IntegerTooBig)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], Err(ReadError::IntegerTooBig)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Reader::new(bytes).var_uint(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn utf16_places_count_as_javascript_does() {
        let text = "aé日😀z".as_bytes();
        assert_eq!(utf16_len(text), 6);
        let places: Vec<_> = (0..=6).map(|unit| utf16_place(text, unit)).collect();
        assert_eq!(places, [(0, false), (1, false), (3, false), (6, false), (6, true), (10, false), (11, false)]);
    }
}
