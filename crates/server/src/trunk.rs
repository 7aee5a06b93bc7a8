//! Placeholder.

use crate::connections::Accepted;
use crate::request::RequestHead;
use crate::transport::Incoming;
use crate::upgrade::Entrance;
use std::sync::Arc;

pub(crate) struct Trunk;

impl Trunk {
    pub(crate) fn new(_: Arc<Entrance>, _: Incoming, _: RequestHead, _: Accepted) -> Self {
        Self
    }

    pub(crate) async fn run(self, _: Vec<u8>) {}
}
