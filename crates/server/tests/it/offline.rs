//! What is done with the folder of a server that does not run, and of one that does.

use crate::provider::{Provider, Writer, content_of, delete};
use crate::world::{Running, config, folder, memory, store_on};
use server::config::Config;
use std::path::PathBuf;
use store::{Store, StoreError};
use testkit::disk::FaultyDisk;

fn at(data: PathBuf) -> Config {
    Config { data, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_imported_elsewhere() {
    let here = at(folder("offline-here"));
    let server = Running::start(here.clone(), server::open_store(&here).expect("a folder")).await;
    let mut author = Provider::enter(server.address, "/team/notes%207", 1).await;
    for word in ["some ", "words, ", "some of them gone"] {
        author.write_and_save(word).await;
    }
    author.client.send(&crate::provider::update(&delete(1, 0, 5))).await;
    author.heard_by_now().await;
    author.write_and_save("!").await;
    let content = author.content();
    assert!(server.stop(author).await);

    // The folder is free when the last of the server's threads has let go of it.
    let store = loop {
        match server::open_store(&here) {
            Ok(store) => break store,
            Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let exported = server::export(&*store, "team/notes 7").expect("the room is there");
    assert_eq!(content_of(&exported), content);
    let rooms = server::list(&*store).expect("a list");
    assert_eq!((rooms.len(), rooms[0].0.as_str()), (1, "team/notes 7"));

    let there = at(folder("offline-there"));
    let store = server::open_store(&there).expect("a folder");
    assert!(server::import(&*store, "copy", exported.clone()).expect("it can be read"));
    assert!(!server::import(&*store, "copy", exported.clone()).expect("it can be read"), "nothing new");
    assert_eq!(server::export(&*store, "copy").expect("the room is there"), exported);
    let server = Running::start(there, store).await;
    assert_eq!(Provider::enter(server.address, "/copy", 2).await.content(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_running_server_names_its_process() {
    let config = at(folder("offline-locked"));
    let _server = Running::start(config.clone(), server::open_store(&config).expect("a folder")).await;
    let error = server::open_store(&config).err().expect("the folder is locked").to_string();
    let process = format!("locked by process {}", std::process::id());
    assert!(error.contains(&process) && error.contains("--data"), "{error}");
}

#[test]
fn what_cannot_be_done_is_said_in_words() {
    let store = memory();
    let error = server::export(&*store, "none").expect_err("no such room").to_string();
    assert!(error.contains("there is no room \"none\"") && error.contains("concord rooms"), "{error}");
    let error = server::import(&*store, "r", vec![1, 2, 3]).expect_err("no update").to_string();
    assert!(error.contains("not a Yjs v1 update") && error.contains("encodeStateAsUpdate"), "{error}");
    assert_eq!(server::list(&*store).expect("a list"), []);
}

#[test]
fn an_import_is_on_the_disk_when_it_returns() {
    for seed in 0..5 {
        let disk = FaultyDisk::new();
        let store = store_on(&disk);
        let update = Writer::new(1).write("imported");
        assert!(server::import(&*store, "r", update.clone()).expect("it can be read"));
        let found = store_on(&disk.cut_power(&mut fastrand::Rng::with_seed(seed)));
        assert_eq!(content_of(&server::export(&*found, "r").expect("the room is there")), content_of(&update));
        assert_eq!(found.damage(), []);
    }
}
