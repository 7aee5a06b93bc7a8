//! Removes the mask from client bytes (RFC 6455, section 5.3). Called by the decoder for every payload byte that arrives. Does
//! not decide whether a frame has to be masked.

/// XORs `payload` with `key`, where the first byte of `payload` is byte number `offset` of its frame. Works in 8-byte words,
/// because at 16 MiB a byte loop is what the decoder's profile consists of.
pub(super) fn unmask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let mut turned = key;
    turned.rotate_left(offset % 4);
    let pair =
        u64::from_ne_bytes([turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ pair).to_ne_bytes();
    }
    // The words before the rest are a multiple of four bytes long, so the key has not turned any further.
    for (byte, key) in rest.iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;

    #[test]
    fn words_equal_the_byte_loop_at_every_length_and_offset() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40 {
            for offset in 0..9 {
                let payload: Vec<u8> = (0..length).collect();
                let expected: Vec<u8> =
                    payload.iter().enumerate().map(|(i, byte)| byte ^ key[(i + offset) % 4]).collect();
                let mut fast = payload.clone();
                unmask(&mut fast, key, offset);
                assert_eq!(fast, expected, "length {length}, offset {offset}");
            }
        }
    }
}
