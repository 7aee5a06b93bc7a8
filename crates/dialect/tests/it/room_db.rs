//! room-db: every transcript of its folder, its bounds, its farewells, and what it makes of mutilated messages.

use crate::transcript::play_all;
use dialect::ROOM_DB;

#[test]
fn every_transcript_plays_as_written() {
    play_all("room-db", 10, &[(ROOM_DB, ROOM_DB)]);
}
