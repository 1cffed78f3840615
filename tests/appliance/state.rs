//! What survives the process, and what happens where nothing can.

use crate::common::{Appliance, SOON, Setup, eventually, until};
use crate::{stage, sys};
use serde_json::Value;
use sluice_bench::channel::nth;
use std::fs;
use std::io::Write;

/// Waits until the appliance has stored something.
fn stored(appliance: &Appliance) {
    eventually("something is stored", || {
        (appliance.metric("sluice_store_records_total") > 0.5).then_some(())
    });
}

/// Guards: which broadcast an id names survives kill -9, and a second appliance on the same directory is refused with
/// the reason while the first goes on.
#[test]
fn names_of_broadcasts_survive_a_kill() {
    let engine = stage::engine(1);
    let mut appliance = Setup::with_engines(&[&engine]).start();
    let player = appliance.player(nth(0).0).start();
    stage::plays(&player);
    stored(&appliance);

    let second = Setup::bare().env("DATA_DIR", appliance.data().to_str().expect("a plain path"));
    let output = second.into_command().output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another instance"), "{said}");
    player.wait_more(stage::RATE, SOON).expect("the first plays on");

    appliance = appliance.kill_and_start(Setup::with_engines(&[&engine]));
    assert!(appliance.metric("sluice_directory_aliases") > 1.5, "the id and the infohash are known at once");
}

/// Guards: a data directory that cannot be used keeps nobody from playing, and is shown.
#[test]
fn an_unusable_data_directory_is_shown_and_plays() {
    let engine = stage::engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("DATA_DIR", "/dev/null/data").start();
    stage::plays(&appliance.player(nth(0).0).start());
    assert!(appliance.metric("sluice_store_state{state=\"unavailable\"") > 0.5);
}

/// Guards: the demo leaves nothing behind, wherever it is started.
#[test]
fn the_demo_keeps_nothing_on_disk() {
    let appliance = Setup::bare().arg("--demo").start();
    assert!(appliance.metric("sluice_store_state{state=\"memory\"") > 0.5);
    assert_eq!(std::fs::read_dir(appliance.data()).expect("the directory").count(), 0);
}

/// Figures of a stream, oldest first.
fn figures(appliance: &Appliance, id: &str) -> Vec<Value> {
    let stats = appliance.json(&format!("/streams/{}/stats", id.replace('|', "%7C")));
    stats.as_array().expect("a list").clone()
}

/// Guards: kill -9 in the middle of statistics costs at most the last second of them, again and again; the streams that played
/// are found again, ended for the restart, and the state is sound.
#[test]
fn statistics_outlive_kills() {
    let engine = stage::engine(1);
    let mut appliance = Setup::with_engines(&[&engine]).start();
    let mut before: Vec<String> = Vec::new();
    let mut within_a_second = 0;
    for _ in 0..2 {
        let player = appliance.player(nth(0).0).start();
        stage::plays(&player);
        let id = eventually("the stream is listed", || {
            let streams = appliance.json("/streams?status=started");
            streams[0]["id"].as_str().map(str::to_owned)
        });
        let has_moved = |sample: &Value| sample["downloaded"].as_u64().is_some_and(|bytes| bytes > 0);
        until("there are figures of some seconds", || {
            figures(&appliance, &id).iter().filter(|sample| has_moved(sample)).count() >= 4
        });
        let seen = figures(&appliance, &id).len();
        // Right after a new one came, which makes the one before it a second old.
        let held = eventually("another one comes", || {
            let held = figures(&appliance, &id);
            (held.len() > seen).then_some(held)
        });
        appliance = appliance.kill_and_start(Setup::with_engines(&[&engine]));

        let ended = appliance.json("/streams?status=ended");
        let find = |id: &str| ended.as_array().unwrap().iter().find(|stream| stream["id"] == id).cloned();
        let found = find(&id).unwrap_or_else(|| panic!("{id} is not in {ended:#}"));
        assert_eq!(found["end_reason"], "appliance_restarted");
        before
            .iter()
            .for_each(|id| assert!(find(id).is_some(), "{id} of the time before is not in {ended:#}"));
        let stored = figures(&appliance, &id);
        let bytes = |sample: &Value| sample["downloaded"].as_u64().unwrap_or(0);
        let stored_bytes = stored.last().map_or(0, bytes);
        // The newest came within the last second. A machine that stands still for half a second may be late with the one before.
        let owed = |newest: usize| held.iter().rev().nth(newest).map_or(0, bytes);
        within_a_second += u32::from(stored_bytes >= owed(1));
        assert!(stored_bytes >= owed(2), "{stored_bytes} bytes: {stored:#?} of {held:#?}");
        assert!(appliance.metric("sluice_store_state{state=\"ok\"") > 0.5, "the state is sound");
        before.push(id);
    }
    assert!(within_a_second > 0, "more than the last second was lost each time");
}

/// Guards: on a full disk players play on and new ones join; the fault is shown where people and programs look, and it passes
/// with its cause.
#[test]
fn a_full_disk_is_shown_and_plays() {
    if !sys::may_mount() {
        return;
    }
    let engine = stage::engine(1);
    let appliance = Setup::with_engines(&[&engine]).small_disk(2 << 20).start();
    let player = stage::checked(&appliance, &engine, 0).start();
    stage::plays(&player);
    stored(&appliance);
    let filler = appliance.disk().join("filler");
    let mut file = fs::File::create(&filler).expect("the disk is there");
    while file.write_all(&[0; 4096]).is_ok() {}

    until("the fault is shown", || appliance.json("/health")["status"] == "degraded");
    assert_eq!(appliance.get("/health").status(), 200, "that is no reason to restart anything");
    assert!(appliance.json("/health")["storage"]["fault"].as_str().is_some_and(|text| text.contains("full")));
    assert!(appliance.metric("sluice_store_state{state=\"failing\"") > 0.5);
    let logged = |category: &str| {
        let entries = appliance.json(&format!("/events?event_type=system&category={category}"));
        entries.as_array().is_some_and(|entries| !entries.is_empty())
    };
    until("the log says so", || logged("storage_failed"));
    player.wait_more(stage::RATE, SOON).expect("it plays on");
    stage::plays(&stage::checked(&appliance, &engine, 0).start());
    assert_eq!((player.end(), player.report().faults()), (None, Vec::new()));

    // Held open it would go on taking its place.
    drop(file);
    fs::remove_file(&filler).expect("it is there");
    until("all is well", || appliance.json("/health")["status"] == "ok" && logged("storage_recovered"));
}
