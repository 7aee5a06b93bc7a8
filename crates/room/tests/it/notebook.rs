//! The notebook: which note wins, who is told, what is kept and for how long, its bounds, and that a restart changes nothing.
//!
//! A script is what happens, line by line, and under each line, behind `>`, every effect of it; `desk` says how they are written.

mod bounds;
mod desk;
mod random;
mod rules;
mod stored;
