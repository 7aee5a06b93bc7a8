//! Messages of y-protocols and the updates in them, as far as a measuring client has to write and read them. Called by every workload.
//! Integrates nothing: what a client has is a state vector.

pub(crate) const SYNC: u8 = 0;
pub(crate) const AWARENESS: u8 = 1;
pub(crate) const AUTH: u8 = 2;

pub(crate) const STEP_1: u8 = 0;
pub(crate) const STEP_2: u8 = 1;
pub(crate) const UPDATE: u8 = 2;

/// A step 1 of a client that has nothing.
pub(crate) const EMPTY_STEP_1: &[u8] = &[SYNC, STEP_1, 1, 0];

/// A step 2 of a client that has nothing to give.
pub(crate) const EMPTY_STEP_2: &[u8] = &[SYNC, STEP_2, 2, 0, 0];

/// A sync message's payload, with its step.
pub(crate) fn sync_message(message: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = message.strip_prefix(&[SYNC])?;
    let step = *rest.split_off_first()?;
    Some((step, read_var_bytes(&mut rest)?))
}

/// A sync message with this payload.
pub(crate) fn sync(step: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 8);
    out.extend([SYNC, step]);
    var_bytes(&mut out, payload);
    out
}

/// Takes a varUint off the front.
#[inline]
pub(crate) fn read_var_uint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
        if shift > 56 {
            return None;
        }
    }
}

/// Takes a length and so many bytes off the front.
#[inline]
pub(crate) fn read_var_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(read_var_uint(bytes)?).ok()?;
    bytes.split_off(..length)
}

pub(crate) fn var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// One author's typing in the text `t`: each update appends to what the same author wrote before.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) client: u64,
    pub(crate) clock: u64,
}

impl Author {
    pub(crate) fn new(client: u64) -> Self {
        Self { client, clock: 0 }
    }

    /// An update that appends `text` (ASCII) to what this author wrote last.
    pub(crate) fn append(&mut self, text: &[u8], update: &mut Vec<u8>) {
        let client = self.client;
        let left = self.clock.checked_sub(1).map(|clock| (client, clock));
        self.insert(left, None, text, update);
    }

    /// The same, and what this author wrote last, which had `last` characters, is deleted in the same update: a value that is set anew.
    pub(crate) fn replace(&mut self, last: u64, text: &[u8], update: &mut Vec<u8>) {
        let from = self.clock - last;
        self.append(text, update);
        if last > 0 {
            // Instead of the empty delete set.
            update.pop();
            update.push(1);
            var_uint(update, self.client);
            update.push(1);
            var_uint(update, from);
            var_uint(update, last);
        }
    }

    /// An update that puts `text` (ASCII) between two characters, each named by its id; at the start of the text `t` if there are none.
    pub(crate) fn insert(
        &mut self,
        left: Option<(u64, u64)>,
        right: Option<(u64, u64)>,
        text: &[u8],
        update: &mut Vec<u8>,
    ) {
        update.extend([1, 1]);
        var_uint(update, self.client);
        var_uint(update, self.clock);
        update.push(4 | u8::from(left.is_some()) << 7 | u8::from(right.is_some()) << 6);
        for (client, clock) in left.iter().chain(&right) {
            var_uint(update, *client);
            var_uint(update, *clock);
        }
        if left.is_none() && right.is_none() {
            update.extend([1, 1, b't']);
        }
        var_bytes(update, text);
        update.push(0);
        self.clock += text.len() as u64;
    }
}

/// Client and clock of an update whose structs are one author's: all that a typing client sends.
#[inline]
pub(crate) fn author_and_clock(update: &[u8]) -> Option<(u64, u64)> {
    let mut rest = update.strip_prefix(&[1, 1])?;
    Some((read_var_uint(&mut rest)?, read_var_uint(&mut rest)?))
}

/// Clocks that a client has of others, in ascending order of ids: up to where it is without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clocks(Vec<(u64, u64)>);

impl Clocks {
    pub(crate) fn get(&self, client: u64) -> u64 {
        self.0.binary_search_by_key(&client, |entry| entry.0).map_or(0, |place| self.0[place].1)
    }

    /// The client in this place, in ascending order of ids.
    pub(crate) fn client(&self, place: usize) -> Option<u64> {
        self.0.get(place).map(|entry| entry.0)
    }

    /// Takes note of a range. False: something before it is missing.
    pub(crate) fn cover(&mut self, client: u64, clock: u64, length: u64) -> bool {
        let place = match self.0.binary_search_by_key(&client, |entry| entry.0) {
            Ok(place) => place,
            Err(place) => {
                self.0.insert(place, (client, 0));
                place
            }
        };
        let known = &mut self.0[place].1;
        if clock > *known {
            return false;
        }
        *known = (*known).max(clock + length);
        true
    }

    /// Whether everything in `other` is here.
    pub(crate) fn covers(&self, other: &Clocks) -> bool {
        other.0.iter().all(|&(client, clock)| self.get(client) >= clock)
    }

    /// Takes note of a whole update, of which nothing is skipped. False: it cannot be read, or something before it is missing.
    pub(crate) fn add(&mut self, update: &[u8]) -> bool {
        let mut whole = true;
        ranges(update, |client, clock, length| whole &= self.cover(client, clock, length)).is_some() && whole
    }

    /// As a state vector, which is what a step 1 carries.
    pub(crate) fn state_vector(&self) -> Vec<u8> {
        let mut out = Vec::new();
        var_uint(&mut out, self.0.len() as u64);
        for &(client, clock) in &self.0 {
            var_uint(&mut out, client);
            var_uint(&mut out, clock);
        }
        out
    }

    /// Clock ticks of all clients together: characters, of a text that nothing was deleted from.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|entry| entry.1).sum()
    }
}

/// Hands over client, clock and length of each struct of a v1 update that is no skip. None: it cannot be read.
pub(crate) fn ranges(update: &[u8], mut seen: impl FnMut(u64, u64, u64)) -> Option<()> {
    let mut rest = update;
    for _ in 0..read_var_uint(&mut rest)? {
        let structs = read_var_uint(&mut rest)?;
        let client = read_var_uint(&mut rest)?;
        let mut clock = read_var_uint(&mut rest)?;
        for _ in 0..structs {
            let info = *rest.split_off_first()?;
            let length = match info & 0x1f {
                0 | 10 => read_var_uint(&mut rest)?,
                content => item_length(info, content, &mut rest)?,
            };
            if info & 0x1f != 10 {
                seen(client, clock, length);
            }
            clock += length;
        }
    }
    Some(())
}

/// Takes an item off the front, its info byte excepted; how many ticks of the clock it stands for.
fn item_length(info: u8, content: u8, rest: &mut &[u8]) -> Option<u64> {
    for bit in [0x80, 0x40] {
        if info & bit != 0 {
            read_var_uint(rest)?;
            read_var_uint(rest)?;
        }
    }
    if info & 0xc0 == 0 {
        // The parent: a name of the document's, or the id of an item.
        if read_var_uint(rest)? == 1 {
            read_var_bytes(rest)?;
        } else {
            read_var_uint(rest)?;
            read_var_uint(rest)?;
        }
        if info & 0x20 != 0 {
            read_var_bytes(rest)?;
        }
    }
    match content {
        1 => read_var_uint(rest),
        2 | 3 | 5 => {
            let count = if content == 2 { read_var_uint(rest)? } else { 1 };
            (0..count).try_for_each(|_| read_var_bytes(rest).map(drop))?;
            Some(count)
        }
        4 => {
            let text = read_var_bytes(rest)?;
            if text.is_ascii() {
                return Some(text.len() as u64);
            }
            // UTF-16 units: what begins a character of four bytes counts twice, and what continues one not at all.
            Some(text.iter().map(|byte| u64::from(byte & 0xc0 != 0x80) + u64::from(*byte >= 0xf0)).sum())
        }
        6 => {
            read_var_bytes(rest)?;
            read_var_bytes(rest)?;
            Some(1)
        }
        7 => {
            // XML elements and hooks have a name.
            if matches!(read_var_uint(rest)?, 3 | 5) {
                read_var_bytes(rest)?;
            }
            Some(1)
        }
        8 => {
            let count = read_var_uint(rest)?;
            (0..count).try_for_each(|_| any(rest, 0))?;
            Some(count)
        }
        9 => {
            read_var_bytes(rest)?;
            any(rest, 0)?;
            Some(1)
        }
        _ => None,
    }
}

/// Takes a value of lib0's `any` off the front.
fn any(rest: &mut &[u8], depth: usize) -> Option<()> {
    if depth > 64 {
        return None;
    }
    match *rest.split_off_first()? {
        127 | 126 | 121 | 120 => {}
        125 => while *rest.split_off_first()? >= 0x80 {},
        124 => drop(rest.split_off(..4)?),
        123 | 122 => drop(rest.split_off(..8)?),
        119 | 116 => drop(read_var_bytes(rest)?),
        118 => {
            for _ in 0..read_var_uint(rest)? {
                read_var_bytes(rest)?;
                any(rest, depth + 1)?;
            }
        }
        117 => {
            for _ in 0..read_var_uint(rest)? {
                any(rest, depth + 1)?;
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_author_writes_is_found_again() {
        let mut author = Author::new(300);
        let mut clocks = Clocks::default();
        for round in 0..200 {
            let mut update = Vec::new();
            author.append(b"fifty characters or so", &mut update);
            assert_eq!(author_and_clock(&update), Some((300, round * 22)));
            assert!(clocks.add(&update));
            let message = sync(UPDATE, &update);
            assert_eq!(sync_message(&message), Some((UPDATE, &update[..])));
        }
        assert_eq!(clocks.get(300), author.clock);
        let mut between = Vec::new();
        author.insert(Some((300, 1)), Some((300, 2)), b"x", &mut between);
        assert!(clocks.add(&between));
        assert_eq!(clocks.total(), 200 * 22 + 1);
    }

    #[test]
    fn a_gap_is_told_and_covers_nothing() {
        let mut clocks = Clocks::default();
        assert!(clocks.cover(1, 0, 5));
        assert!(!clocks.cover(1, 6, 5));
        assert_eq!(clocks.get(1), 5);
        assert!(clocks.cover(1, 3, 5));
        assert_eq!(clocks.get(1), 8);
        assert_eq!(clocks.state_vector(), [1, 1, 8]);
    }

    #[test]
    fn struct_ranges_of_every_content() {
        // One client with: GC 3, skip 2, deleted 4 with a parent's name, "aé𝄞" after its left neighbour, a format, a map type, two anys.
        let mut update = vec![1, 7, 9, 0];
        update.extend([0, 3, 10, 2]);
        update.extend([1, 1, 1, b't', 4]);
        update.extend([0x84, 9, 8, 7, b'a', 0xc3, 0xa9, 0xf0, 0x9d, 0x84, 0x9e]);
        update.extend([0x86, 9, 12, 1, b'b', 4, b't', b'r', b'u', b'e']);
        update.extend([0x27, 1, 1, b'm', 1, b'k', 1]);
        update.extend([0x88, 9, 14, 2, 125, 0x81, 1, 118, 1, 1, b'k', 117, 1, 119, 1, b'v']);
        update.push(0);
        let mut found = Vec::new();
        assert_eq!(ranges(&update, |client, clock, length| found.push((client, clock, length))), Some(()));
        assert_eq!(found, [(9, 0, 3), (9, 5, 4), (9, 9, 4), (9, 13, 1), (9, 14, 1), (9, 15, 2)]);
        for end in 0..update.len() - 1 {
            assert_eq!(ranges(&update[..end], |_, _, _| ()), None, "{end}");
        }
    }
}
