//! The log format, of changes and of the manifest: records in blocks of 32 KiB, cut where a block ends.
//!
//! A piece is `u32 LE checksum, u16 LE length, u8 (1 whole, 2 first, 3 middle, 4 last), bytes`; fewer than 7 bytes at the end of a block
//! are not used. After damage the rest of the block is given up, as LevelDB does, and it is said; also when the file just ends inside a record,
//! as after a power cut: a wrong length looks the same.

use super::Entry;
use super::block::masked;
use document::lib0::Reader;

const BLOCK_BYTES: usize = 32 << 10;
const HEAD_BYTES: usize = 7;
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// The records of a file in order, and between them what is wrong and where.
pub(super) fn records(file: &[u8]) -> Vec<Result<Vec<u8>, String>> {
    let mut records = Vec::new();
    let mut partial: Option<Vec<u8>> = None;
    for (number, block) in file.chunks(BLOCK_BYTES).enumerate() {
        let mut rest = block;
        while !rest.is_empty() {
            let at = number * BLOCK_BYTES + block.len() - rest.len();
            let Some((head, behind)) = rest.split_first_chunk::<HEAD_BYTES>() else {
                if block.len() < BLOCK_BYTES {
                    records.push(Err(format!("it ends inside the record at byte {at}")));
                }
                break;
            };
            let (length, kind) = (usize::from(head[4]) | usize::from(head[5]) << 8, head[6]);
            if *head == [0; HEAD_BYTES] {
                break; // space that was reserved and never written
            }
            let checksum = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let piece = behind.get(..length);
            let Some(piece) = piece.filter(|piece| checksum_of(kind, piece) == checksum) else {
                records.push(Err(match piece {
                    Some(_) => format!("the checksum of the record at byte {at} does not match"),
                    None => format!("the record at byte {at} does not end where it should"),
                }));
                partial = None;
                break;
            };
            rest = &behind[length..];
            match (kind, partial.take()) {
                (WHOLE, _) => records.push(Ok(piece.to_vec())),
                (FIRST, _) => partial = Some(piece.to_vec()),
                (MIDDLE, Some(before)) => partial = Some([&before, piece].concat()),
                (LAST, Some(before)) => records.push(Ok([&before, piece].concat())),
                // The end of a record whose beginning was given up.
                _ => {}
            }
        }
    }
    if partial.is_some() {
        records.push(Err("it ends between two parts of a record".to_owned()));
    }
    records
}

fn checksum_of(kind: u8, piece: &[u8]) -> u32 {
    masked(crc32c::crc32c_append(crc32c::crc32c(&[kind]), piece))
}

/// The changes of one record: `u64 LE sequence of the first, u32 LE count`, and for each `01 key value` or `00 key`.
pub(super) fn changes(record: Vec<u8>) -> Result<Vec<Entry>, String> {
    parse(&record).ok_or_else(|| "a record with a right checksum is not in the format".to_owned())
}

fn parse(record: &[u8]) -> Option<Vec<Entry>> {
    let (sequence, rest) = record.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (first, count) = (u64::from_le_bytes(*sequence), u32::from_le_bytes(*count));
    let mut reader = Reader::new(rest);
    let mut changes = Vec::new();
    for sequence in (0..u64::from(count)).map(|index| first.wrapping_add(index)) {
        let kind = reader.u8().ok()?;
        let key = reader.var_bytes().ok()?.to_vec();
        let value = match kind {
            0 => None,
            1 => Some(reader.var_bytes().ok()?.to_vec()),
            _ => return None,
        };
        changes.push(Entry { key, sequence, value });
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let checksum = checksum_of(kind, bytes).to_le_bytes();
        [&checksum[..], &(bytes.len() as u16).to_le_bytes(), &[kind], bytes].concat()
    }

    /// Two blocks: a whole record, the beginning of one that goes on in the second block, and another whole one.
    fn file() -> Vec<u8> {
        let begins = vec![7; BLOCK_BYTES - 2 * HEAD_BYTES - 5];
        [piece(WHOLE, b"first"), piece(FIRST, &begins), piece(LAST, b"end"), piece(WHOLE, b"third")].concat()
    }

    fn told(file: &[u8]) -> Vec<String> {
        let record = |record: Result<Vec<u8>, String>| match record {
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(reason) => reason,
        };
        records(file).into_iter().map(record).collect()
    }

    #[test]
    fn records_are_put_together_and_an_end_inside_of_one_is_told() {
        let file = file();
        let whole = ["5 bytes", "32752 bytes", "5 bytes"];
        assert_eq!(told(&file), whole);
        let cases = [
            (file.len() - 1, vec![whole[0], whole[1], "the record at byte 32778 does not end where it should"]),
            (file.len() - 6, vec![whole[0], whole[1], "it ends inside the record at byte 32778"]),
            (BLOCK_BYTES, vec![whole[0], "it ends between two parts of a record"]),
            (BLOCK_BYTES - 1, vec![whole[0], "the record at byte 12 does not end where it should"]),
            (12, vec![whole[0]]),
        ];
        for (end, expected) in cases {
            assert_eq!(told(&file[..end]), expected, "cut at {end}");
        }
        assert_eq!(told(&[&file[..], &[0; 300]].concat()), whole, "reserved space");
    }

    #[test]
    fn damage_is_told_and_what_is_behind_its_block_is_read() {
        let mut file = file();
        file[8] ^= 1;
        assert_eq!(told(&file), ["the checksum of the record at byte 0 does not match", "5 bytes"]);
        file[8] ^= 1;
        file[12 + 5] ^= 0x80;
        assert_eq!(told(&file), ["5 bytes", "the record at byte 12 does not end where it should", "5 bytes"]);
    }

    #[test]
    fn a_record_has_changes() {
        let record = [&9_u64.to_le_bytes()[..], &2_u32.to_le_bytes(), b"\x01\x01k\x02vw\0\x01d"].concat();
        let expected = [("k", 9, Some(b"vw".to_vec())), ("d", 10, None)];
        let expected = expected.map(|(key, sequence, value)| Entry { key: key.into(), sequence, value });
        assert_eq!(changes(record.clone()), Ok(expected.to_vec()));
        for end in 0..record.len() {
            assert!(changes(record[..end].to_vec()).is_err(), "cut at {end}");
        }
    }
}
