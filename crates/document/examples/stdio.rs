//! The struct store on a pipe, so that the real `yjs` can be held against it: `conformance/documents.mjs` is the other end.
//!
//! Request: one byte, u32 length (little endian), payload. Answer: u32 length, payload. `N` new document (flags: 1 = keep deleted), `A` add an update
//! (status byte, u32 count, then each update to relay with its u32 length), `D` diff against a state vector, `V` state vector, `S` snapshot, `C` compact.

use document::{Document, MessageLimits, Part, RoomLimits, StateVector, Update};
use std::io::{BufReader, BufWriter, Read, Write};

const DUPLICATE: u8 = 1;
const INVALID: u8 = 2;
const PARKED: u8 = 0x80;

fn main() -> std::io::Result<()> {
    let (mut input, mut output) = (BufReader::new(std::io::stdin().lock()), BufWriter::new(std::io::stdout().lock()));
    let limits = RoomLimits { parked_bytes_max: usize::MAX, ..RoomLimits::default() };
    let (mut document, mut keep_deleted) = (Document::new(limits), false);
    let mut head = [0; 5];
    while input.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize];
        input.read_exact(&mut payload)?;
        let answer = match head[0] {
            b'N' => {
                (document, keep_deleted) = (Document::new(limits), payload.first() == Some(&1));
                Vec::new()
            }
            b'A' => add(&mut document, payload),
            b'D' => match StateVector::decode(&payload, &MessageLimits::default()) {
                Ok(known) => document.diff(&known, keep_deleted),
                Err(_) => Vec::new(),
            },
            b'V' => document.state_vector().encode(),
            b'S' => document.snapshot(keep_deleted),
            b'C' => {
                document.compact();
                Vec::new()
            }
            other => return Err(std::io::Error::other(format!("unknown request {other}"))),
        };
        output.write_all(&(answer.len() as u32).to_le_bytes())?;
        output.write_all(&answer)?;
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()
}

fn add(document: &mut Document, payload: Vec<u8>) -> Vec<u8> {
    let Ok(update) = Update::validate(payload, &MessageLimits::default()) else { return vec![INVALID, 0, 0, 0, 0] };
    let added = document.add(&update, 0);
    let nothing = added.parts.is_empty() && added.parked.is_none();
    let mut answer = vec![if nothing { DUPLICATE } else { 0 } | if added.parked.is_some() { PARKED } else { 0 }];
    answer.extend((added.parts.len() as u32).to_le_bytes());
    for part in &added.parts {
        let bytes = match part {
            Part::Whole => update.bytes(),
            Part::Cut { bytes, .. } => bytes,
        };
        answer.extend((bytes.len() as u32).to_le_bytes());
        answer.extend(bytes);
    }
    answer
}
