//! When every engine carries all it may.

use crate::common::{Setup, until};
use crate::stage::{assert_refusal, checked, engine, plays, refused};
use sluice_bench::channel::nth;

/// Guards: a stream that runs is joined however full the engines are, because joining needs no engine. An
/// orchestrator chose an engine first and refused. Another stream waits, bounded by its own start budget, and is then
/// refused with a hint.
#[test]
fn a_running_stream_is_joined_and_another_is_refused() {
    let engine = engine(2);
    let appliance = Setup::with_engines(&[&engine])
        .env("ACEXY_MAX_STREAMS_PER_ENGINE", "1")
        .env("START_TIMEOUT_S", "2")
        .env("START_TIMEOUT_MAX_S", "2")
        .start();
    let first = checked(&appliance, &engine, 0).start();
    plays(&first);
    let other = appliance.player(nth(1).0).start();
    let second = checked(&appliance, &engine, 0).start();
    plays(&second);
    let answer = refused(&other);
    assert_refusal(&answer, 503, "max_capacity");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(engine.control().counters(nth(1).0).unwrap().opens, 0);
    assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);
    plays(&first);
}

/// Guards: who waits for a free engine gets it as soon as the stream before is over, without asking again.
#[test]
fn a_waiting_stream_plays_when_an_engine_is_free() {
    let engine = engine(2);
    let appliance = Setup::with_engines(&[&engine]).env("ACEXY_MAX_STREAMS_PER_ENGINE", "1").start();
    let first = checked(&appliance, &engine, 0).start();
    plays(&first);
    let waiting = checked(&appliance, &engine, 1).start();
    until("the other is waiting", || appliance.metric("sluice_clients_waiting") == 1.0);
    assert_eq!(engine.control().counters(nth(1).0).unwrap().opens, 0);
    first.stop();
    plays(&waiting);
    assert_eq!(engine.control().counters(nth(0).0).unwrap().stops, 1);
    assert!(engine.control().engine_counters().downloads == 1);
}
