//! A bug ends its room, and nothing else.

use crate::provider::Provider;
use crate::spy::Spy;
use crate::world::{Running, config, memory};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_panics_ends_alone_and_comes_back_fresh() {
    let store = Arc::new(Spy::panicking_at(memory(), b"poison"));
    let server = Running::start(config(), store).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut silent = Provider::enter(server.address, "/r", 2).await;
    let mut elsewhere = Provider::enter(server.address, "/elsewhere", 3).await;
    author.write_and_save("good").await;
    author.write("poison").await;
    for member in [&mut author, &mut silent] {
        let (_, code, reason) = member.until_closed().await;
        assert_eq!((code, reason.as_str()), (1011, "internal error"));
    }
    elsewhere.write_and_save("undisturbed").await;
    let mut back = Provider::enter(server.address, "/r", 1).await;
    assert_eq!(back.shown(1), 4);
    back.write_and_save("good again").await;
    assert!(server.stop((author, silent, elsewhere, back)).await);
}
