//! A block of a table: entries in the order of their keys, each key without the beginning that it shares with the one before.
//!
//! `(varint shared, varint rest, varint value length, rest of the key, value)*`, then places to start from (`u32 LE` each) and their count,
//! which only a search needs. On disk a byte (how it is compressed) and a checksum follow. Called by `table`.

use document::lib0::Reader;

/// Key and value, in the order of a block.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// A compressed block shrinks at most so much: the longest copy of snappy is 64 bytes for 3.
const SHRINKS_MAX: usize = 22;
const PLAIN: u8 = 0;
const SNAPPY: u8 = 1;
/// Behind each block: how it is compressed, and the checksum.
pub(super) const TRAILER_BYTES: usize = 5;

/// A checksum as LevelDB stores it, so that a checksum of bytes with checksums in them is no special case.
pub(super) fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Checks a block that was read with its trailer, and unpacks it.
pub(super) fn unpack(stored: &[u8]) -> Result<Vec<u8>, String> {
    let (checked, checksum) = stored.split_last_chunk::<4>().ok_or("it is too short")?;
    if masked(crc32c::crc32c(checked)) != u32::from_le_bytes(*checksum) {
        return Err("its checksum does not match".to_owned());
    }
    let (compression, content) = checked.split_last().ok_or("it is too short")?;
    match *compression {
        PLAIN => Ok(content.to_vec()),
        SNAPPY => {
            let wanted = snap::raw::decompress_len(content).map_err(|error| error.to_string())?;
            if wanted > content.len().saturating_mul(SHRINKS_MAX) {
                return Err(format!("it claims to unpack to {wanted} bytes"));
            }
            snap::raw::Decoder::new().decompress_vec(content).map_err(|error| error.to_string())
        }
        other => Err(format!("its compression {other} is not supported")),
    }
}

/// All entries of an unpacked block. None: it breaks the format.
pub(super) fn entries(block: &[u8]) -> Option<Vec<Pair>> {
    let (rest, restarts) = block.split_last_chunk::<4>()?;
    let restarts = usize::try_from(u32::from_le_bytes(*restarts)).ok()?;
    let end = rest.len().checked_sub(restarts.checked_mul(4)?)?;
    let mut reader = Reader::new(&rest[..end]);
    let mut entries: Vec<Pair> = Vec::new();
    while !reader.is_empty() {
        let mut number = || usize::try_from(reader.var_uint().ok()?).ok();
        let (shared, own, value) = (number()?, number()?, number()?);
        let mut key = match entries.last() {
            Some((before, _)) => before.get(..shared)?.to_vec(),
            None if shared == 0 => Vec::new(),
            None => return None,
        };
        key.extend_from_slice(reader.take(own).ok()?);
        entries.push((key, reader.take(value).ok()?.to_vec()));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_beginnings() {
        let block = [&b"\0\x02\x01abX\x01\x01\0c"[..], &0_u32.to_le_bytes(), &1_u32.to_le_bytes()].concat();
        let expected = vec![(b"ab".to_vec(), b"X".to_vec()), (b"ac".to_vec(), Vec::new())];
        assert_eq!(entries(&block), Some(expected));
        for broken in [&b"\x01\x01\0c\0\0\0\0"[..], b"\0\x09\0c\0\0\0\0", b"\0\0\xff\xff\xff\xff", b""] {
            assert_eq!(entries(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_block_that_claims_to_be_huge_is_not_unpacked() {
        let mut stored = b"\xff\xff\xff\xff\x0f\0a".to_vec();
        stored.push(SNAPPY);
        stored.extend(masked(crc32c::crc32c(&stored)).to_le_bytes());
        assert_eq!(unpack(&stored), Err("it claims to unpack to 4294967295 bytes".to_owned()));
        stored[0] = 0;
        assert_eq!(unpack(&stored), Err("its checksum does not match".to_owned()));
    }
}
