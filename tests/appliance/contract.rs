//! What a player's request is answered with, to the letter.

use crate::common::{Setup, until};
use crate::stage::{STREAM_HEAD, assert_refusal, checked, engine, plays, refusals};
use sluice_bench::channel::nth;
use sluice_bench::engine::ChannelCounters;
use sluice_bench::player::http::{self, Response};
use sluice_bench::player::{Player, Version, check};

fn fields(response: &sluice_bench::player::Head) -> Vec<(&str, &str)> {
    response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Guards: every accepted spelling of a play request (trailing slash, upper case, `infohash`, `pid`, blanks, ranges,
/// unknown parameters, absolute target, HTTP/1.0) gets the same bare head and an undelimited body, in its own version.
/// A chunked body, a length or a stray field breaks television sets.
#[test]
fn a_play_has_exactly_the_documented_head() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let (id, infohash) = (nth(0).0.to_string(), nth(0).1.to_string());
    let targets = [
        format!("/ace/getstream?id={id}"),
        format!("/ace/getstream/?id={id}"),
        format!("/ace/getstream?infohash={infohash}"),
        format!("/ace/getstream?id={}&pid=3", id.to_uppercase()),
        format!("/ace/getstream?unknown=1&id=%20{id}%20&infohash="),
        format!("http://{}/ace/getstream?id={id}", appliance.addr()),
    ];
    let reference = engine.control().broadcast(nth(0).0).unwrap();
    let start = |target: &String, version| {
        let options = check::Options { reference: Some(reference.clone()), ..check::Options::default() };
        let plan = Player::get(appliance.addr(), target).version(version).check(options);
        plan.header("Range", "bytes=1000-").header("Icy-MetaData", "1").start()
    };
    let versions = [(Version::Http11, 1), (Version::Http10, 0)];
    let all: Vec<_> = targets
        .iter()
        .flat_map(|target| versions.map(|(version, minor)| (target, minor, start(target, version))))
        .collect();
    for (target, minor, player) in &all {
        plays(player);
        let head = player.snapshot().head.expect("it plays");
        assert_eq!((head.version_minor, fields(&head)), (*minor, STREAM_HEAD.to_vec()), "{target}");
    }
    assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);
}

/// Guards: HEAD, OPTIONS, other methods and faulty requests never touch an engine. In an orchestrator HEAD, OPTIONS
/// and POST started streams, so that health checks and browsers opened sessions.
#[test]
fn what_is_no_play_touches_no_engine() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let target = format!("/ace/getstream?id={}", nth(0).0);
    let ask = |method: &str, body: &[u8]| -> Response {
        http::request(appliance.addr(), method, &target, &[], body).unwrap()
    };
    let head = ask("HEAD", b"");
    assert_eq!((head.status(), fields(&head.head)), (200, STREAM_HEAD.to_vec()));
    assert_eq!(head.body, b"");
    let options = ask("OPTIONS", b"");
    assert_eq!((options.status(), options.body.len()), (204, 0));
    assert_eq!(options.header("access-control-allow-origin"), Some("*"));
    assert_eq!(options.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS"));
    for method in ["POST", "PUT", "DELETE", "PATCH", "get", "PROPFIND"] {
        let answer = ask(method, b"");
        assert_refusal(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{method}");
    }
    assert_refusal(&ask("POST", b"id=1"), 405, "method_not_allowed");
    assert_refusal(&ask("GET", b"{}"), 400, "bad_request");
    let faulty = http::request(appliance.addr(), "HEAD", "/ace/getstream?id=1", &[], b"").unwrap();
    assert_eq!((faulty.status(), faulty.body.len()), (400, 0));
    assert_eq!(appliance.get(&format!("/ace/status?id={}", nth(0).0)).status(), 404);
    let manifest = format!("/ace/manifest.m3u8?id={}", nth(0).0);
    assert_eq!(http::request(appliance.addr(), "HEAD", &manifest, &[], b"").unwrap().status(), 200);
    assert_eq!(engine.control().counters(nth(0).0).unwrap(), ChannelCounters::default());
    // The counters do count: a play shows.
    plays(&appliance.player(nth(0).0).start());
    assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);
}

/// Guards: a wrong selector is 400 with a body for programs and for people that names the fault, and is counted.
#[test]
fn a_wrong_selector_is_named() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let id = nth(0).0.to_string();
    let not_hex = format!("g{}", &id[1..]);
    let cases = [
        (String::new(), "missing_id", "one of `id` or `infohash` must have a value"),
        ("id=&infohash=".into(), "missing_id", "one of `id` or `infohash` must have a value"),
        (format!("id={id}&infohash={id}"), "ambiguous_id", "only one of `id` or `infohash` can have a value"),
        (format!("id={}", &id[1..]), "malformed_id", "39 characters, an id has 40"),
        (format!("id={id}0"), "malformed_id", "41 characters, an id has 40"),
        (format!("id={not_hex}"), "malformed_id", "character 1 is 'g'"),
        (format!("infohash={not_hex}"), "malformed_id", "malformed infohash"),
        ("id=%00%ff%".into(), "malformed_id", "malformed id"),
        (format!("id={}", "%E2%82%AC".repeat(500)), "malformed_id", "500 characters"),
    ];
    for (query, code, text) in &cases {
        let answer = appliance.get(&format!("/ace/getstream?{query}"));
        let said = assert_refusal(&answer, 400, code);
        assert!(said.contains(text), "{query}: {said}");
        assert_eq!(answer.header("retry-after"), None, "{query}");
    }
    until("refusals are counted", || refusals(&appliance, "malformed_id") == 6.0);
    assert_eq!(engine.control().counters(nth(0).0).unwrap(), ChannelCounters::default());
}

/// Guards: `pid` is refused in acexy's words when that is wanted, and the rest still plays.
#[test]
fn strict_pid_refuses_as_acexy_does() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("STRICT_PID", "true").start();
    let answer = appliance.get(&format!("/ace/getstream?id={}&pid=1", nth(0).0));
    assert_eq!(assert_refusal(&answer, 400, "pid_not_allowed"), "PID parameter is not allowed");
    plays(&checked(&appliance, &engine, 0).start());
}

/// Guards: routes that are not there say so in JSON instead of an empty reply, and the page an operator
/// opens first answers.
#[test]
fn other_routes_answer_what_they_are() {
    let appliance = Setup::bare().start();
    for path in ["/ace", "/ace/", "/ace/unknown", "/ace/getstream/x", "/ace/hls/segment.ts"] {
        assert_refusal(&appliance.get(path), 404, "not_found");
    }
    let home = appliance.get("/");
    assert_eq!((home.status(), home.header("location")), (307, Some("panel/")));
    for path in ["/panel/", "/panel/streams"] {
        let page = appliance.get(path);
        assert_eq!(page.status(), 200, "{path}");
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{path}");
        assert!(page.text().contains("<title>"), "{path}");
    }
    let unknown = appliance.get("/unknown");
    assert_eq!((unknown.status(), unknown.json().unwrap()["detail"].is_string()), (404, true));
}

/// Guards: a refusal that a later attempt may escape says after how long, the same in header and body.
#[test]
fn an_unreachable_engine_suggests_a_retry() {
    let engine = engine(1);
    engine.control().update_engine_faults(|faults| faults.refuse = true);
    let appliance = Setup::with_engines(&[&engine]).env("NO_RESPONSE_TIMEOUT", "1s").start();
    let answer = appliance.get(&format!("/ace/getstream?id={}", nth(0).0));
    assert_refusal(&answer, 502, "engine_unreachable");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}
