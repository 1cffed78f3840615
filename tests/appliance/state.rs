//! What survives the process, and what happens where nothing can.

use crate::common::{Appliance, SOON, Setup, eventually};
use crate::stage;
use sluice_bench::channel::nth;

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
