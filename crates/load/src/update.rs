//! Yjs updates as a typing client makes them, written by hand so that making one costs next to nothing.

/// One author's typing in the text `t`: each update appends to what the same author wrote before.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    client: u64,
    clock: u64,
}

impl Author {
    pub(crate) fn new(client: u64) -> Self {
        Self { client, clock: 0 }
    }

    /// Writes a sync update message that appends `text` (ASCII). The text ends one byte before the message does.
    pub(crate) fn append(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut update = vec![1, 1];
        var_uint(&mut update, self.client);
        var_uint(&mut update, self.clock);
        if self.clock == 0 {
            update.extend([4, 1, 1, b't']);
        } else {
            update.push(0x84);
            var_uint(&mut update, self.client);
            var_uint(&mut update, self.clock - 1);
        }
        var_uint(&mut update, text.len() as u64);
        update.extend_from_slice(text);
        update.push(0);
        self.clock += text.len() as u64;
        out.extend([0, 2]);
        var_uint(out, update.len() as u64);
        out.extend_from_slice(&update);
    }
}

/// Takes a varUint off the front.
pub(crate) fn read_var_uint(bytes: &mut &[u8]) -> Option<u64> {
    let length = bytes.iter().take(8).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    Some(number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
}

fn var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
