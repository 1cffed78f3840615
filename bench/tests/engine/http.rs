//! The shape of answers: how real engines speak HTTP.

use super::client::{Client, Ended, header, json, target};
use super::{content_id, engine, infohash};

/// Guards redirect mode: two unframed redirects with a text body that ends by close, absolute URLs from the Host
/// header, CORS, then media.
#[test]
fn redirect_mode_takes_two_unframed_hops() {
    let engine = engine();
    let mut at = format!("/ace/getstream?infohash={}", infohash(0));
    for place in ["/ace/r/", "/content/"] {
        let mut client = Client::connect(engine.addr());
        client.get(&at);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 302 Found\r\n"), "{head}");
        for absent in ["Content-Length", "Transfer-Encoding", "Connection"] {
            assert_eq!(header(&head, absent), None, "{head}");
        }
        assert_eq!(header(&head, "Access-Control-Allow-Origin"), Some("*"));
        assert!(header(&head, "Server").is_some_and(|server| server.starts_with("BaseHTTP/")));
        let location = header(&head, "Location").expect("a location").to_owned();
        assert!(location.starts_with(&format!("http://engine.test:1{place}{}/", infohash(0))), "{location}");
        let (body, ended) = client.read_to_end();
        assert_eq!((body, ended), (format!("Redirect to {location}").into_bytes(), Ended::Eof));
        at = target(&location);
    }
    let mut client = Client::connect(engine.addr());
    client.get(&at);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(header(&head, "Content-Type"), Some("video/mp2t"));
    assert_eq!(header(&head, "Content-Length"), None);
    assert_eq!(client.read(1).expect("media")[0], 0x47);
}

/// Guards playback errors: 500, text, exact length, and a connection that can be used again.
#[test]
fn errors_are_text_with_a_length_and_keep_the_connection() {
    let engine = engine();
    let mut client = Client::connect(engine.addr());
    for (target, reason) in [
        (format!("/ace/r/{}/{}", infohash(0), "0".repeat(32)), "download not found"),
        ("/ace/getstream".to_owned(), "Internal Server Error, couldn't find resource"),
        ("/no/such/thing".to_owned(), "Internal Server Error, couldn't find resource"),
        ("/ace/manifest.m3u8".to_owned(), "Internal Server Error, couldn't find resource"),
        ("/ace/getstream?id=1".to_owned(), "failed to load content"),
        ("/ace/manifest.m3u8?id=1".to_owned(), "failed to load content"),
    ] {
        client.get(&target);
        let (head, body) = client.response();
        assert!(head.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{head}");
        assert_eq!(header(&head, "Content-Type"), Some("text/plain"));
        assert_eq!(body, reason);
    }
}

/// Guards the start answer: every documented field, and the key of a client without pid is the MD5 of its address.
#[test]
fn start_answer_has_its_fields_and_the_address_key() {
    let engine = engine();
    let request =
        format!("/ace/getstream?id={}&format=json&use_api_events=1&client_session_id=42", content_id(1));
    let answer = json(engine.addr(), &request);
    assert!(answer["error"].is_null());
    let response = &answer["response"];
    // MD5 of "127.0.0.1".
    let place = format!("{}/f528764d624db129b32c21fbca0cb8d6", infohash(1));
    for (field, route) in
        [("playback_url", "r"), ("stat_url", "stat"), ("command_url", "cmd"), ("event_url", "event")]
    {
        assert_eq!(response[field], format!("http://engine.test:1/ace/{route}/{place}"));
    }
    assert_eq!(response["infohash"], infohash(1).to_string());
    assert_eq!(response["playback_session_id"].as_str().map(str::len), Some(40));
    assert_eq!((&response["is_live"], &response["client_session_id"]), (&1.into(), &42.into()));
}

/// Guards that pids give keys of their own, stable per pid, while the playback session id changes.
#[test]
fn a_pid_has_a_key_of_its_own() {
    let engine = engine();
    let open = |pid| super::client::open(engine.addr(), infohash(0), pid);
    let (a, b, again) = (open("a"), open("b"), open("a"));
    assert_ne!(a.playback, b.playback);
    assert_eq!(a.playback, again.playback);
    assert_eq!(a.playback.rsplit('/').next().map(str::len), Some(32));
    assert_ne!(a.answer["response"]["playback_session_id"], again.answer["response"]["playback_session_id"]);
}

/// Guards the service endpoints that health checks use, healthy and not.
#[test]
fn service_endpoints_answer_health_checks() {
    let engine = engine();
    let api = |query: &str| json(engine.addr(), &format!("/server/api?api_version=3&{query}"));
    let version = json(engine.addr(), "/webui/api/service?method=get_version&format=json");
    assert_eq!(
        (&version["result"]["code"], &version["result"]["version"]),
        (&3_021_100.into(), &"3.2.11".into())
    );
    assert_eq!(api("method=get_status")["result"]["version"]["platform"], "linux");
    assert_eq!(api("method=get_network_connection_status")["result"]["connected"], true);
    assert_eq!(api("method=nonsense")["error"]["message"], "unknown method");
    assert_eq!(json(engine.addr(), "/server/api?method=get_version")["error"], "access denied");
    let files = api(&format!("method=get_media_files&content_id={}", content_id(2)));
    assert_eq!(files["result"]["infohash"], infohash(2).to_string());
    assert_eq!(files["result"]["type"], "live");
    let unknown = api(&format!("method=get_media_files&content_id={}", "0".repeat(40)));
    assert_eq!(unknown["error"]["message"], "cannot get transport file");
    let analyzed = api(&format!("method=analyze_content&query={}", infohash(2)));
    assert_eq!(analyzed["result"]["content_id"], content_id(2).to_string());
    let back = api(&format!("method=get_content_id&infohash={}", infohash(2)));
    assert_eq!(back["result"]["content_id"], content_id(2).to_string());
    let control = engine.control();
    assert_eq!(control.counters(infohash(2)).expect("known").media_files, 1);
    assert_eq!(control.counters(infohash(2)).expect("known").opens, 0);
    control.update_engine_faults(|faults| faults.disconnected = true);
    assert_eq!(api("method=get_network_connection_status")["result"]["connected"], false);
}

/// Guards that broken requests cost the sender its connection and nothing else.
#[test]
fn malformed_requests_are_counted_and_dropped() {
    let engine = engine();
    for bad in ["\r\n\r\n", "GET nothing HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"] {
        let mut client = Client::connect(engine.addr());
        client.send(bad);
        assert_eq!(client.read_to_end().0, b"", "{bad:?}");
    }
    let mut client = Client::connect(engine.addr());
    client.send(&"x".repeat(20_000));
    assert_ne!(client.read_to_end().1, Ended::Silent);
    assert_eq!(engine.control().engine_counters().malformed, 4);
    assert!(json(engine.addr(), "/webui/api/service?method=get_version")["error"].is_null());
}
