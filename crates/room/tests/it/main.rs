//! The rules of collaboration, one short script each, and random members who must converge.
//!
//! A script is what happens to a room, line by line, and under each line all effects of it; `script` says how they are written.

mod acknowledgement;
mod awareness;
mod convergence;
mod guests;
mod hub;
mod hub_live;
mod hub_model;
mod hub_script;
mod notebook;
mod refusal;
mod script;
mod snapshot;
mod sync;
