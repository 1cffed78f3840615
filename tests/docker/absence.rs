//! A Docker that is slow, refuses, hangs or is gone for a while, and who plays on its engines meanwhile.

use crate::common::{Appliance, SOON, Setup, eventually_within, until};
use crate::daemon::Daemon;
use crate::gate::{Gate, Verdict};
use serde_json::Value;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::{Player, check};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes per second of the channels in the images.
const RATE: u64 = 250_000;
/// Far above what a busy machine adds, and far below what anything here waits for Docker.
const GAP_MAX: Duration = Duration::from_secs(2);

/// How the way to the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Each call takes longer than a player would bear.
    Slow,
    /// Each call is answered with 500.
    Refusing,
    /// Nobody listens, and what was connected is cut: also what a daemon that restarts looks like.
    Gone,
    /// Calls are taken and not answered.
    Hanging,
}

/// Which container plays what, as far as it is shown already.
fn played(appliance: &Appliance) -> BTreeMap<String, String> {
    let sessions = appliance.json("/proxy/sessions");
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let sessions = sessions["sessions"].as_array().expect("a list").iter();
    sessions
        .filter_map(|session| Some((text(&session["infohash"])?, text(&session["container_id"])?)))
        .collect()
}

/// What somebody is told for whom there is no engine: the code, and when to come back.
fn refused(appliance: &Appliance) -> (String, u64) {
    let player = appliance.player(nth(2).0).start();
    let head = player.wait_head(SOON).expect("a head comes");
    player.wait_end(SOON).expect("a refusal ends");
    let text = String::from_utf8_lossy(&player.first_bytes()).into_owned();
    assert_eq!(head.status, 503, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let wait = head.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    (body["code"].as_str().expect("a code").to_owned(), wait)
}

/// Guards whoever plays on engines in Docker from Docker: while it is slow, refuses, hangs or is gone, and when it comes back, every
/// byte comes as before, from the same engine over the same connection, and no engine is given up or made for it. What is wrong is
/// told meanwhile, also to whoever finds no engine then.
#[test]
fn players_do_not_notice_what_becomes_of_docker() {
    let Some(daemon) = Daemon::start() else { return };
    let way = Arc::new(Mutex::new(Way::Open));
    let seen = way.clone();
    let gate = Gate::open(&daemon.directory().join("gate"), daemon.socket(), move |_| {
        let now = || *seen.lock().expect("nobody fails with it");
        match now() {
            Way::Open => Verdict::Pass,
            Way::Slow => {
                thread::sleep(Duration::from_millis(1500));
                Verdict::Pass
            }
            Way::Refusing => Verdict::Refuse,
            Way::Gone => Verdict::Close,
            Way::Hanging => {
                while now() == Way::Hanging {
                    thread::sleep(Duration::from_millis(20));
                }
                Verdict::Pass
            }
        }
    });
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", gate.host())
        .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
        .env("ENGINE_VARIANT", "krinkuto11-amd64")
        .env("MAX_STREAMS_PER_ENGINE", "1")
        .env("MIN_REPLICAS", "2")
        .env("MAX_REPLICAS", "2")
        .env("MONITOR_INTERVAL_S", "1")
        .env("ENGINE_WAIT_S", "1")
        .env("ENGINE_GRACE_PERIOD_S", "17")
        .start();
    until("both are ready", || appliance.metric("sluice_fleet_engines{phase=\"ready\"") == 2.0);
    let channels = (0..2).map(|n| ChannelSpec::synthetic(n, RATE)).collect();
    let reference = Engine::start(Options { channels, ..Options::default() }).expect("an engine starts");
    let players: Vec<Player> = (0..2)
        .map(|n| {
            let (id, infohash) = nth(n);
            let reference = reference.control().broadcast(infohash).expect("the channel exists");
            let checked = check::Options { reference: Some(reference), ..check::Options::default() };
            appliance.player(id).check(checked).start()
        })
        .collect();
    for player in &players {
        player.wait_decodable(2 * SOON).expect("it plays");
        player.wait_more(RATE / 4, SOON).expect("it goes on");
        player.forget_gaps();
    }
    let before = eventually_within("both are shown", SOON, || {
        let played = played(&appliance);
        (played.len() == 2).then_some(played)
    });

    for step in [Way::Slow, Way::Refusing, Way::Gone, Way::Open, Way::Hanging, Way::Open] {
        let had: Vec<u64> = players.iter().map(Player::bytes).collect();
        *way.lock().expect("nobody fails with it") = step;
        if !matches!(step, Way::Open | Way::Slow) {
            gate.cut();
        }
        match step {
            Way::Refusing | Way::Gone => {
                until("the absence is noticed", || appliance.metric("sluice_docker_up") == 0.0);
                assert_eq!(appliance.json("/health")["engines"]["docker"], "away", "{step:?}");
                let told = appliance.json("/orchestrator/status");
                assert_eq!(
                    told["provisioning"]["blocked_reason_details"]["code"], "no_docker",
                    "{step:?}: {told}"
                );
            }
            // It would be noticed after as long as a list may take.
            Way::Slow | Way::Hanging => {}
            Way::Open => until("it is back", || appliance.metric("sluice_docker_up") == 1.0),
        }
        let more = if matches!(step, Way::Slow | Way::Hanging) { 2 * RATE } else { RATE };
        for (player, had) in players.iter().zip(had) {
            player.wait_bytes(had + more, SOON).unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
            assert_eq!(player.end(), None, "{step:?}");
            assert_eq!(
                player.report().faults_or_losses(),
                Vec::<String>::new(),
                "{step:?}: {}",
                player.snapshot()
            );
            assert!(player.longest_gap() < GAP_MAX, "{step:?}: {:?}", player.longest_gap());
        }
        if step == Way::Gone {
            assert_eq!(refused(&appliance), ("no_docker".to_owned(), 30));
        }
        assert_eq!(played(&appliance), before, "{step:?}: somebody was moved");
    }
    assert_eq!(refused(&appliance), ("max_capacity".to_owned(), 17), "both engines are taken");
    let counted = |event: &str| appliance.metric(&format!("sluice_fleet_events_total{{event=\"{event}\""));
    let counts = ["started", "failed", "lost", "replaced", "idle_removed"].map(counted);
    assert_eq!((counts, daemon.engines().len()), ([2.0, 0.0, 0.0, 0.0, 0.0], 2));
}
