//! An engine that accepts and answers nothing holds up nobody but its own streams.

use crate::common::{Setup, eventually, eventually_within};
use crate::stage::{checked, engine, plays};
use sluice_bench::channel::nth;
use sluice_bench::player::http;
use std::time::{Duration, Instant};

/// Guards: while an engine hangs with streams on it and starts under way, status routes answer and streams on another
/// engine start and play. A proxy held one lock over its calls to engines, so that health checks failed.
#[test]
fn status_and_other_engines_do_not_wait_for_a_hung_one() {
    let engines = [engine(4), engine(4)];
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).env("NO_RESPONSE_TIMEOUT", "3s").start();
    appliance.wait_healthy(2);
    let players = [0, 1].map(|n| checked(&appliance, &engines[0], n).start());
    players.iter().for_each(plays);
    let on = |n: u32| {
        let path = format!("/proxy/sessions/{}", nth(n).0);
        eventually("the engine is shown", || {
            let port = appliance.json(&path)["engine_port"].as_u64()?;
            (port != 0).then_some(port as u16)
        })
    };
    let hung =
        engines.iter().position(|engine| on(0) == engine.addr().port()).expect("it plays on one of them");
    assert_ne!(on(0), on(1), "the two streams are spread");
    engines[hung].control().update_engine_faults(|faults| {
        faults.hang = true;
        faults.stall = true;
    });
    let third = checked(&appliance, &engines[0], 2).start();
    let began = Instant::now();
    for path in ["/ace/status", "/health", "/proxy/health", "/proxy/status", "/proxy/sessions", "/metrics"] {
        let asked = Instant::now();
        assert_eq!(http::get(appliance.addr(), path).unwrap().status(), 200, "{path}");
        // A wait for the engine would take its whole deadline; the rest is a busy test machine.
        assert!(asked.elapsed() < Duration::from_secs(2), "{path} took {:?}", asked.elapsed());
    }
    let status = appliance.get(&format!("/ace/status?id={}", nth(0).0));
    assert_eq!(status.status(), 200, "the stream on the hung engine is shown");
    plays(&players[1]);
    plays(&third);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "starting beside a hung engine took {:?}",
        began.elapsed()
    );
    assert_eq!(on(2), engines[1 - hung].addr().port());
    players[1].stop();
    assert_eq!(players[1].report().faults_or_losses(), Vec::<String>::new());
}

/// Guards: an engine nobody can reach any more is left while its media still come: it is about to be replaced. Its stream goes on
/// with the very next packet from another one, and stays where it is when there is no other.
#[test]
fn an_engine_that_is_down_is_left_while_it_sends() {
    let engines = [engine(1), engine(1)];
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    appliance.wait_healthy(2);
    let player = checked(&appliance, &engines[0], 0).start();
    plays(&player);
    let path = format!("/proxy/sessions/{}", nth(0).0);
    let on = || appliance.json(&path)["engine_port"].as_u64().filter(|port| *port != 0);
    let first = eventually("the engine is shown", on);
    let sick = engines.iter().find(|engine| u64::from(engine.addr().port()) == first).expect("one of them");
    sick.control().update_engine_faults(|faults| faults.refuse = true);
    // It is checked each ten seconds, and more often once in doubt.
    let second = eventually_within("the stream leaves it", Duration::from_secs(60), || {
        on().filter(|port| *port != first)
    });
    assert!(
        appliance.metric("sluice_session_moves_asked_total{reason=\"engine_down\"") > 0.5,
        "it was asked to, and not cut"
    );
    plays(&player);

    let other =
        engines.iter().find(|engine| u64::from(engine.addr().port()) == second).expect("the other one");
    other.control().update_engine_faults(|faults| faults.refuse = true);
    let is_down = || {
        appliance
            .json("/engines")
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["health_status"] == "unhealthy"))
    };
    eventually_within("nobody is left", Duration::from_secs(60), || is_down().then_some(()));
    plays(&player);
    assert_eq!(on(), Some(second), "there is nowhere to go");
    player.stop();
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
}
