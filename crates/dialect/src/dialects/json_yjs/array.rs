//! Bytes as a JSON array of numbers: `[1,0,255]`. Called for each document and each update that json-yjs clients are sent, so it makes no number twice and
//! allocates nothing beside the output.

/// Of the input, written at once: what comes of it fits into the first cache.
const PIECE_BYTES: usize = 256;
/// Of a number and its comma.
const NUMBER_BYTES_MAX: usize = 4;

/// Each byte as a number with a comma behind it, and its length.
static NUMBERS: [([u8; NUMBER_BYTES_MAX], u8); 256] = numbers();

const fn numbers() -> [([u8; NUMBER_BYTES_MAX], u8); 256] {
    let mut numbers = [([b','; NUMBER_BYTES_MAX], 0); 256];
    let mut value = 0;
    while value < numbers.len() {
        let digits = [b'0' + (value / 100) as u8, b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
        let skipped = if value < 10 {
            2
        } else if value < 100 {
            1
        } else {
            0
        };
        let mut place = 0;
        while skipped + place < digits.len() {
            numbers[value].0[place] = digits[skipped + place];
            place += 1;
        }
        numbers[value].1 = place as u8 + 1;
        value += 1;
    }
    numbers
}

/// Appends `bytes` to `out`.
pub(super) fn append_array(bytes: &[u8], out: &mut Vec<u8>) {
    // Most bytes of documents are letters, clocks and lengths: two to three digits and the comma.
    out.reserve(bytes.len() * 7 / 2 + 3);
    out.push(b'[');
    let mut written = [0; PIECE_BYTES * NUMBER_BYTES_MAX];
    for piece in bytes.chunks(PIECE_BYTES) {
        let mut end = 0;
        for &byte in piece {
            let (number, length) = &NUMBERS[usize::from(byte)];
            // All four, as that is one store; what is too much is written over.
            written[end..end + NUMBER_BYTES_MAX].copy_from_slice(number);
            end += usize::from(*length);
        }
        out.extend_from_slice(&written[..end]);
    }
    if bytes.is_empty() { out.push(b']') } else { *out.last_mut().expect("the opening bracket") = b']' }
}
