//! Named channels: several ids for one name, the first that starts is played.

use crate::common::{SOON, Setup, until};
use crate::scene::{RATE, engine};
use crate::stage::{assert_refusal, refused};
use sluice_bench::channel::nth;
use sluice_bench::engine::ChannelSpec;
use sluice_bench::player::{Plan, Player, check};
use std::path::PathBuf;
use std::process::Stdio;

/// A file of channels for one test.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, text).expect("the directory for tests can be written");
    path
}

/// Guards: a name plays the first of its ids that starts; who comes later joins what plays without trying the dead ones
/// again; the broadcast is the same session under its own id; names that are none are 404, and a name beside an id 400.
#[test]
fn a_name_plays_the_first_source_that_starts() {
    let engine = engine((0..2).map(|n| ChannelSpec::synthetic(n, RATE)).collect());
    let unknown = "f".repeat(40);
    let path = file("spare.toml", &format!("news = [\"{unknown}\", \"{}\", \"{}\"]\n", nth(1).0, nth(0).0));
    let appliance = Setup::with_engines(&[&engine]).env("CHANNELS_FILE", path.to_str().unwrap()).start();
    let reference = engine.control().broadcast(nth(1).1).unwrap();
    let checked = |plan: Plan| {
        plan.check(check::Options { reference: Some(reference.clone()), ..check::Options::default() }).start()
    };
    let named = |query: &str| Player::get(appliance.addr(), &format!("/ace/getstream?{query}"));
    let first = checked(named("channel=news"));
    first.wait_decodable(SOON).unwrap();
    until("it plays", || appliance.json("/proxy/status")["total_clients"] == 1);
    let players = [first, checked(named("channel=news")), checked(appliance.player(nth(1).0))];
    for player in &players {
        player.wait_decodable(SOON).unwrap();
        player.wait_more(RATE / 2, SOON).unwrap();
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    let counters = engine.control().counters(nth(1).1).unwrap();
    assert_eq!((counters.opens, engine.control().counters(nth(0).1).unwrap().opens), (1, 0), "{counters:?}");
    until("it is counted", || appliance.metric("sluice_channel_sources_passed_total") >= 1.0);
    assert!(appliance.metric("sluice_channel_sources_passed_total") < 1.5, "the dead source was tried again");
    assert_eq!(appliance.json("/ace/status?channel=news")["clients"].as_u64().map(|count| count >= 1), Some(true));
    assert_refusal(&refused(&named("channel=nobody").start()), 404, "not_found");
    let both = format!("channel=news&id={}", nth(0).0);
    assert_refusal(&refused(&named(&both).start()), 400, "ambiguous_id");
    std::fs::remove_file(path).unwrap();
}

/// Guards: a faulty file ends the start with the variable, the file's place of the fault and what is wrong.
#[test]
fn a_faulty_file_is_refused_with_the_place_of_the_fault() {
    let path = file("faulty.toml", "news = [\"0123\"]\n");
    let mut command = Setup::bare().env("CHANNELS_FILE", path.to_str().unwrap()).into_command();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    for part in ["CHANNELS_FILE", "line 1 column 9", "4 characters, an id has 40"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    std::fs::remove_file(path).unwrap();
}
