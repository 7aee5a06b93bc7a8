//! The places where rooms can survive. One entry here per backend; each passes the contract suite of `testkit`.

pub mod embedded;
pub mod memory;
