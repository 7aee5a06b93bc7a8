//! What every kind of room answers to, so that who serves rooms need not know what they are about.

use crate::message::{Effects, Input};
use std::fmt::Debug;

/// A room of some kind: a value that turns inputs into effects.
///
/// Whatever it accepts it has logged by `Effect::Append`, and it tells nobody that something is saved before `Input::Durable` has covered it.
pub trait Rules: Debug + Send {
    /// Takes one input; what has to be done is appended to `effects`. `now_ms`: milliseconds since the Unix epoch.
    fn handle(&mut self, input: Input, now_ms: u64, effects: &mut Effects);

    /// Offset of the next change.
    fn head(&self) -> u64;

    /// Everything before this offset is known to be durable.
    fn durable_offset(&self) -> u64;

    /// Bytes of memory that it takes, about.
    fn bytes(&self) -> usize;

    /// True while too much waits for the disk: give it nothing from members then, so that they wait as well.
    fn is_congested(&self) -> bool;

    /// True while something in it ends by itself: give it `Input::Tick` every few seconds.
    fn wants_ticks(&self) -> bool;

    /// When something in it is to happen by itself, in milliseconds since the Unix epoch: give it `Input::Tick` then. What is past: in the next turn.
    fn wakes_at_ms(&self) -> Option<u64> {
        None
    }

    /// True while presence changed and nobody was told: give it `Input::TellPresence` soon.
    fn presence_waits(&self) -> bool {
        false
    }
}
