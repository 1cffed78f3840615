//! What HLS refuses, and what that costs nobody: a clear answer, bounded memory, no word to an engine.

use crate::common::{Appliance, Setup, until};
use crate::hls::{Viewer, opens};
use crate::scene::healthy;
use crate::stage::assert_refusal;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelCounters, ChannelSpec, Engine, Options};
use sluice_bench::player::http::{Connection, request, send_raw};
use std::net::TcpListener;
use std::time::Duration;

/// Guards: whatever is asked for that is not there gets a clear refusal on a connection that stays, costs no engine
/// anything, and fetches nothing.
#[test]
fn what_is_not_there_is_refused() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let (id, infohash) = nth(0);
    let head = request(appliance.addr(), "HEAD", &format!("/ace/manifest.m3u8?id={id}"), &[], b"").unwrap();
    assert_eq!((head.status(), head.header("content-type")), (200, Some("application/vnd.apple.mpegurl")));
    let options = request(appliance.addr(), "OPTIONS", "/ace/hls/x", &[], b"").unwrap();
    assert_eq!(options.status(), 204);
    let post = request(appliance.addr(), "POST", &format!("/ace/manifest.m3u8?id={id}"), &[], b"").unwrap();
    assert_refusal(&post, 405, "method_not_allowed");
    assert_refusal(&appliance.get("/ace/manifest.m3u8"), 400, "missing_id");
    assert_refusal(&appliance.get("/ace/manifest.m3u8?id=1"), 400, "malformed_id");
    let token = "0000".to_owned() + &"5".repeat(32);
    for path in [
        format!("/ace/hls/{infohash}/{token}/index.m3u8"),
        format!("/ace/hls/{infohash}/{token}/0.ts"),
        format!("/ace/hls/{infohash}/ffff{}/0.ts", "5".repeat(32)),
        format!("/ace/hls/{infohash}/segment/0.ts"),
        "/ace/hls/segment.ts?stream=x&url=http://192.0.2.1/secret".to_owned(),
        format!("/ace/hls/{infohash}/{token}/../../../etc/passwd"),
        format!("/ace/hls/{infohash}/{token}/%2e%2e%2f0.ts"),
    ] {
        assert_refusal(&appliance.get(&path), 404, "not_found");
    }
    assert_eq!(opens(&engine), 0, "a refused request reached the engine");
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}"));
    let future = viewer.playlist().end() + 50;
    assert_refusal(&viewer.get(&format!("{future}.ts")), 404, "not_found");
    assert_refusal(&viewer.get(&format!("{}.ts", u64::MAX)), 404, "not_found");
    for query in ["_HLS_msn=99999", "_HLS_msn=x", "_HLS_part=1", "_HLS_msn=18446744073709551615"] {
        assert_refusal(&viewer.get(&format!("index.m3u8?{query}")), 400, "bad_request");
    }
    let other = viewer.directory.replace(&infohash.to_string(), &nth(1).1.to_string());
    assert_refusal(&appliance.get(&format!("{other}/index.m3u8")), 404, "not_found");
    viewer.playlist();
    assert_eq!(opens(&engine), 1);
}

/// Guards: a segment that is no longer kept is refused as such, while what has only left the list can still be had.
#[test]
fn an_expired_segment_is_refused() {
    let channel = ChannelSpec::synthetic(0, 100_000).with_reach_back(Duration::from_secs(110));
    let engine = Engine::start(Options { channels: vec![channel], ..Options::default() }).unwrap();
    let appliance = Setup::with_engines(&[&engine]).start();
    let mut viewer = Viewer::enter(&appliance, &format!("id={}", nth(0).0));
    until("the first has expired", || viewer.get("0.ts").status() == 404);
    assert_refusal(&viewer.get("0.ts"), 404, "not_found");
    assert_refusal(&viewer.get("0.0.ts"), 404, "not_found");
    let listed = viewer.playlist();
    assert!(listed.first > 12, "{}", listed.text);
    assert_eq!(
        viewer.get(&format!("{}.ts", listed.first - 1)).status(),
        200,
        "what has just left the list is kept"
    );
    assert_eq!(opens(&engine), 1);
}

/// Guards: no address makes Sluice connect anywhere, be it in a parameter, in the path, in the request line or in `Host`.
#[test]
fn a_foreign_host_is_never_contacted() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    foreign.set_nonblocking(true).unwrap();
    let host = foreign.local_addr().unwrap();
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let (id, infohash) = nth(0);
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}"));
    let before = seen(&engine);
    let own = viewer.directory.clone();
    for (path, code) in [
        (format!("/ace/hls/segment.ts?stream={infohash}&url=http://{host}/secret"), "not_found"),
        (format!("/ace/hls/segment?stream={id}&url=http%3A%2F%2F{host}%2Fsecret"), "not_found"),
        (format!("/ace/manifest.m3u8?url=http://{host}/x.m3u8"), "missing_id"),
        (format!("/ace/manifest.m3u8?manifest_url=http://{host}/x.m3u8"), "missing_id"),
        (format!("/ace/getstream?direct_url=http://{host}/x.ts"), "missing_id"),
        (format!("/ace/manifest.m3u8?id=http://{host}/"), "malformed_id"),
        (format!("{own}/http://{host}/0.ts"), "not_found"),
        (format!("{own}//{host}/0.ts"), "not_found"),
        (format!("/ace/hls/{host}/segment/0.ts"), "not_found"),
    ] {
        let answer = appliance.get(&path);
        assert!((400..500).contains(&answer.status()), "{path}: {answer:?}");
        assert_eq!(answer.json().expect("JSON")["code"], code, "{path}");
    }
    // With a host of its own in the request line or in the field, an answer is that of the path, or a refusal.
    for lines in [
        format!("GET http://{host}{own}/0.ts HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        format!("GET {own}/index.m3u8 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ] {
        let answer =
            String::from_utf8_lossy(&send_raw(appliance.addr(), lines.as_bytes()).unwrap()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 ") && !answer.starts_with("HTTP/1.1 5"), "{lines}: {answer}");
        assert!(!answer.contains(&host.to_string()), "what a stranger calls us is in an answer: {answer}");
    }
    assert!(foreign.accept().is_err(), "somebody connected");
    assert_eq!(seen(&engine), before);
    viewer.playlist();
}

/// What an engine was asked for, as far as players cause it.
fn seen(engine: &Engine) -> ChannelCounters {
    let counters = engine.control().counters(nth(0).1).expect("the channel exists");
    ChannelCounters { bytes: 0, stats: 0, ..counters }
}

/// Guards: thousands of tokens from one address cost bounded memory, nobody else their place, and the engine nothing; a
/// limit on players per address holds for those that use theirs.
#[test]
fn thousands_of_tokens_cost_bounded_memory() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).env("SHARDS", "1").start();
    let id = nth(0).0;
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}"));
    viewer.playlist();
    let (mut before, asked) = (0, seen(&engine));
    let mut connection = Connection::open(appliance.addr()).unwrap();
    let (mut given, mut refused) = (0, 0);
    for round in 0..5_000 {
        // The first hundreds may make room that stays.
        if round == 1_000 {
            before = resident(&appliance);
        }
        let answer = connection.get(&format!("/ace/manifest.m3u8?id={id}")).unwrap();
        match answer.status() {
            302 => given += 1,
            429 => refused += 1,
            _ => panic!("{answer:?}"),
        }
    }
    assert!(given < 2_000 && refused > 3_000, "{given} given, {refused} refused");
    let grown = resident(&appliance).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more for what was refused");
    assert_eq!(seen(&engine), asked, "the engine was asked");
    viewer.playlist();
    let strict = Setup::with_engines(&[&engine]).env("MAX_CLIENTS_PER_IP", "5").start();
    let viewers: Vec<Viewer> = (0..5).map(|_| Viewer::enter(&strict, &format!("id={id}"))).collect();
    let answer = strict.get(&format!("/ace/manifest.m3u8?id={id}"));
    assert_refusal(&answer, 429, "address_clients_max");
    drop(viewers);
}

/// Resident memory of the appliance, bytes.
fn resident(appliance: &Appliance) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", appliance.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}

/// Guards: every answer may be read by a page of another origin, refusals included, which a player in a browser could not
/// tell apart otherwise; and the question whether it may is answered.
#[test]
fn every_answer_may_be_read_from_another_origin() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let id = nth(0).0;
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}"));
    let segment = viewer.playlist().segments[0].clone();
    let origin = ("Origin", "https://tv.example.org");
    let allowed = |what: &str, answer: &sluice_bench::player::http::Response, status: u16| {
        assert_eq!(
            (answer.status(), answer.header("access-control-allow-origin")),
            (status, Some("*")),
            "{what}"
        );
    };
    for (file, fields, status) in [
        ("index.m3u8", vec![origin], 200),
        (&*segment, vec![origin], 200),
        (&*segment, vec![origin, ("Range", "bytes=0-187")], 206),
        (&*segment, vec![origin, ("Range", "bytes=99999999-")], 416),
        ("999999.ts", vec![origin], 404),
        ("index.m3u8?_HLS_msn=x", vec![origin], 400),
    ] {
        allowed(file, &viewer.ask("GET", file, &fields), status);
    }
    let ranged = viewer.ask("GET", &segment, &[origin, ("Range", "bytes=0-187")]);
    let shown = ranged.header("access-control-expose-headers").unwrap_or_default();
    assert!(shown.contains("Content-Range") && shown.contains("Content-Length"), "{shown}");
    let ask = |method: &str, path: &str| request(appliance.addr(), method, path, &[origin], b"").unwrap();
    allowed("a new playlist", &ask("GET", &format!("/ace/manifest.m3u8?id={id}")), 302);
    allowed("nothing to play", &ask("GET", "/ace/manifest.m3u8"), 400);
    allowed("another method", &ask("POST", "/ace/manifest.m3u8"), 405);
    let preflight =
        [origin, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "range")];
    let path = format!("{}/{segment}", viewer.directory);
    let answer = request(appliance.addr(), "OPTIONS", &path, &preflight, b"").unwrap();
    allowed("a preflight", &answer, 204);
    let field = |name: &str| answer.header(name).unwrap_or_default().to_ascii_lowercase();
    assert!(field("access-control-allow-methods").contains("get"), "{answer:?}");
    assert!(["*", "range"].iter().any(|it| field("access-control-allow-headers").contains(it)), "{answer:?}");
}

/// Guards: a player over HLS is who it is by its own address, whatever it says of itself, unless a trusted proxy says it.
#[test]
fn a_stranger_is_not_believed_about_its_address() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let id = nth(0).0;
    let path = format!("/ace/manifest.m3u8?id={id}");
    let claims = [
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-Host", "evil.example.org"),
        ("X-Forwarded-Proto", "gopher"),
    ];
    let sent = request(appliance.addr(), "GET", &path, &claims, b"").unwrap();
    let place = sent.header("location").expect("a playlist").to_owned();
    assert!(place.starts_with("hls/"), "{place}");
    until("it is shown by its own address", || {
        let clients = appliance.json(&format!("/proxy/streams/{id}/clients"))["clients"].clone();
        clients.as_array().is_some_and(|all| all.len() == 1 && all[0]["ip_address"] == "127.0.0.1")
    });
}
