//! What control knows after it was stopped and started anew as another process would be.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::Engine;
use common::{Bench, PATIENCE, by_id, number, options, stream};
use sluice_contract::ToControl;
use sluice_control::Options;

fn kept_in(engine: &Engine, directory: &tempfile::TempDir) -> Options {
    Options { data_dir: Some(directory.path().to_owned()), ..options(&[engine.authority()]) }
}

/// Guards: what an engine told about an id, whether asked by control or met by a shard, is known to the next process
/// without asking again.
#[test]
fn names_of_broadcasts_survive() {
    let engine = Engine::start();
    engine.know("content_id", 1, 2);
    let directory = tempfile::tempdir().unwrap();
    let mut first = Bench::start(kept_in(&engine, &directory), 1);
    first.shards[0].tell(ToControl::Learned {
        selector: by_id(5).selector,
        options: Default::default(),
        infohash: number(6),
    });
    // Answered after the message before it was taken.
    let ticket = first.shards[0].resolve(by_id(1), PATIENCE);
    assert_eq!(first.shards[0].resolved(ticket), stream(2));
    drop(first);

    let second = Bench::start(kept_in(&engine, &directory), 1);
    assert_eq!(second.directory.find(&by_id(5)), Some(stream(6)));
    assert_eq!(second.directory.find(&by_id(1)), Some(stream(2)));
}

/// Guards: a second control on the same directory is refused, and the reason names the directory.
#[test]
fn one_directory_serves_one_control() {
    let engine = Engine::start();
    let directory = tempfile::tempdir().unwrap();
    let _first = Bench::start(kept_in(&engine, &directory), 1);
    let mut other = Bench::start(options(&[engine.authority()]), 1);
    let refusal = sluice_control::start(kept_in(&engine, &directory), other.stop()).err().expect("refused");
    assert!(refusal.to_string().contains(&directory.path().display().to_string()), "{refusal}");
}
