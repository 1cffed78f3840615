//! Who may send what, and what is said to a request that is not right: keys, the order of checks, the list of faults.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::http::{Answer, read_answer};
use common::{Bench, options};
use serde_json::{Value, json};
use sluice_control::ApiKey;
use std::io::Write;

const KEY: &str = "a-key-of-the-tests";

fn keyed(reads_need_key: bool) -> Bench {
    let api_key = ApiKey::Given(KEY.to_owned());
    Bench::start(sluice_control::Options { api_key, reads_need_key, ..options(&[]) }, 1)
}

fn ask(bench: &Bench, line: &str, headers: &[&str], body: &str) -> Answer {
    let headers = headers.iter().map(|header| format!("{header}\r\n")).collect::<String>();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let request = format!("{line} HTTP/1.1\r\nhost: sluice\r\n{headers}{length}\r\n{body}");
    let mut peer = bench.hand_over(request.as_bytes());
    read_answer(&mut peer, line.starts_with("HEAD"))
}

/// Every operation of the description, with something for each parameter of its path, and whether it asks for a key.
fn operations(bench: &Bench) -> Vec<(String, bool)> {
    let document = bench.get("/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut found = Vec::new();
    for (path, item) in paths {
        let path = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        for (method, operation) in item.as_object().expect("operations") {
            let is_keyed = operation["security"].is_array();
            found.push((format!("{} {path}", method.to_uppercase()), is_keyed));
        }
    }
    assert!(found.len() > 10, "the description has too few routes: {found:?}");
    found
}

/// Guards: a route asks for the key exactly if the description says so, and everything but reading does.
#[test]
fn the_key_is_asked_for_where_the_description_says_so() {
    let bench = keyed(false);
    for (line, is_keyed) in operations(&bench) {
        let status = ask(&bench, &line, &[], "").status;
        assert_eq!(status == 401, is_keyed, "{line} answers {status}");
        assert!(is_keyed || line.starts_with("GET "), "{line} needs no key");
        let status = ask(&bench, &line, &[&format!("x-api-key: {KEY}")], "").status;
        assert!(![401, 403].contains(&status), "{line} answers {status} with the key");
    }
}

/// Guards: both forms of the key through the whole stack, the bodies of 401 and 403, and the alias.
#[test]
fn missing_and_wrong_keys_are_told_apart() {
    let bench = keyed(false);
    for line in ["POST /cache/clear", "POST /api/v1/cache/clear"] {
        for accepted in [format!("authorization: bearer {KEY}"), format!("X-API-KEY: {KEY}")] {
            let answer = ask(&bench, line, &[&accepted], "");
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, r#"{"message":"Cache cleared successfully"}"#)
            );
        }
        let answer = ask(&bench, line, &[], "");
        assert_eq!((answer.status, answer.text().as_str()), (401, r#"{"detail":"missing bearer token"}"#));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let answer = ask(&bench, line, &["authorization: Bearer nonsense", "origin: http://x"], "");
        assert_eq!((answer.status, answer.text().as_str()), (403, r#"{"detail":"invalid token"}"#));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
}

/// Guards: the panel's cookie stands for the key, from the panel alone, until it is given back.
#[test]
fn the_panel_signs_in_once() {
    const PANEL: &str = "x-sluice-panel: 1";
    let bench = keyed(true);
    let json = "content-type: application/json";
    let body = json!({ "key": KEY }).to_string();
    let standing = |headers: &[&str]| ask(&bench, "GET /panel/session", headers, "").json();
    let stranger = json!({ "needs_key": true, "reads_need_key": true, "is_signed_in": false });
    assert_eq!(standing(&[PANEL]), stranger);
    assert_eq!(ask(&bench, "POST /panel/session", &[json], &body).status, 400);
    let wrong = ask(&bench, "POST /panel/session", &[json, PANEL], r#"{"key":"nonsense"}"#);
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None));
    let answer = ask(&bench, "POST /panel/session", &[json, PANEL], &body);
    assert_eq!(answer.status, 204);
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(KEY));
    let cookie = format!("cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(standing(&[PANEL, &cookie])["is_signed_in"], true);
    for line in ["GET /proxy/status", "POST /cache/clear"] {
        assert_eq!(ask(&bench, line, &[PANEL, &cookie], "").status, 200, "{line}");
        assert_eq!(ask(&bench, line, &[&cookie], "").status, 401, "{line} without the panel's mark");
    }
    assert_eq!(ask(&bench, "DELETE /panel/session", &[PANEL, &cookie], "").status, 204);
    assert_eq!(ask(&bench, "POST /cache/clear", &[PANEL, &cookie], "").status, 401);
}

/// Guards: a generated key is told once, accepted ever after on the same directory, and kept only as a hash; a key given
/// later takes its place.
#[test]
fn a_generated_key_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = Some(directory.path().to_owned());
    let with = |api_key| sluice_control::Options { api_key, data_dir: data_dir.clone(), ..options(&[]) };
    let status = |bench: &Bench, key: &str| {
        ask(bench, "POST /cache/clear", &[&format!("x-api-key: {key}")], "").status
    };
    let told = |bench: &mut Bench| bench.control.as_mut().unwrap().take_generated_key();

    let mut bench = Bench::start(with(ApiKey::Generated), 1);
    let key = told(&mut bench).expect("a key is generated");
    assert_eq!((told(&mut bench), status(&bench, &key), status(&bench, "x")), (None, 200, 403));
    drop(bench);
    let mut bench = Bench::start(with(ApiKey::Generated), 1);
    assert_eq!((told(&mut bench), status(&bench, &key), status(&bench, "x")), (None, 200, 403));
    drop(bench);
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(key.len()).any(|found| found == key.as_bytes()), "the key itself is stored");
    }
    let mut bench = Bench::start(with(ApiKey::Given(KEY.to_owned())), 1);
    assert_eq!((told(&mut bench), status(&bench, &key), status(&bench, KEY)), (None, 403, 200));
}

/// Guards: reads are public until the setting closes them; what players and load balancers need stays open.
#[test]
fn reads_can_be_closed() {
    let reads = ["/proxy/status", "/metrics", "/vpn/status", "/api/v1/proxy/sessions", "/engines/stats/all"];
    let (open, closed) = (keyed(false), keyed(true));
    for path in reads {
        assert_eq!(open.get(path).status, 200, "{path}");
        assert_eq!(closed.get(path).status, 401, "{path}");
        let line = format!("GET {path}");
        assert_eq!(ask(&closed, &line, &[&format!("x-api-key: {KEY}")], "").status, 200, "{path}");
    }
    for path in ["/version", "/openapi.json", "/docs/", "/panel/", "/favicon.ico"] {
        assert_eq!(closed.get(path).status, 200, "{path}");
    }
}

/// Guards: syntax of the body, then key, then values; a stranger's large body is not read.
#[test]
fn checks_come_in_their_order() {
    let bench = keyed(false);
    let line = "POST /provision/acestream";
    let broken = ask(&bench, line, &[], "{\"a\": 1, b}");
    assert_eq!(broken.status, 422);
    let fault = &broken.json()["detail"][0];
    assert_eq!((&fault["type"], &fault["loc"]), (&json!("json_invalid"), &json!(["body", 9])));
    assert_eq!(ask(&bench, line, &[], "{\"host_port\": \"x\"}").status, 401);
    let key = format!("x-api-key: {KEY}");
    assert_eq!(ask(&bench, line, &[&key], "{\"host_port\": \"x\"}").status, 422);
    assert_eq!(ask(&bench, line, &[&key], "{}").status, 503);

    let mut peer = bench.hand_over(b"");
    peer.write_all(
        b"POST /provision HTTP/1.1\r\nhost: sluice\r\nexpect: 100-continue\r\ncontent-length: 70000\r\n\r\n",
    )
    .unwrap();
    assert_eq!(read_answer(&mut peer, false).status, 401, "the body was waited for");
}

/// Guards: all faults of a request are told at once, each with its place, code and value.
#[test]
fn faults_are_listed_as_the_contract_says() {
    let bench = keyed(false);
    let key = format!("authorization: Bearer {KEY}");
    let detail = |line: &str, headers: &[&str], body: &str| {
        let answer = ask(&bench, line, headers, body);
        assert_eq!(answer.status, 422, "{line} {body}: {}", answer.text());
        answer.json()["detail"].clone()
    };
    let found = detail("POST /provision", &[&key], r#"{"env":{"A":1},"ports":[]}"#);
    let kinds: Vec<&Value> = found.as_array().unwrap().iter().map(|fault| &fault["type"]).collect();
    assert_eq!(kinds, ["missing", "string_type", "dict_type"]);
    assert_eq!(found[0]["loc"], json!(["body", "image"]));
    assert_eq!(found[0]["msg"], "Field required");
    assert_eq!(found[0]["input"], json!({ "env": {}, "ports": [] }));
    let found = detail("GET /by-label?key=a", &[&key], "");
    assert_eq!(
        found,
        json!([{ "type": "missing", "loc": ["query", "value"], "msg": "Field required", "input": null }])
    );
    let found = detail("POST /scale/-1", &[&key], "");
    assert_eq!((&found[0]["type"], &found[0]["ctx"]), (&json!("greater_than_equal"), &json!({ "ge": 0 })));
    assert_eq!(detail("POST /scale/many", &[&key], "")[0]["type"], "int_parsing");
    assert_eq!(detail("POST /provision", &[&key], "")[0]["loc"], json!(["body"]));
    let form = "content-type: application/x-www-form-urlencoded";
    assert_eq!(detail("POST /provision", &[&key, form], "image=x")[0]["type"], "model_attributes_type");
    assert_eq!(detail("POST /provision", &[&key], "[]")[0]["type"], "model_attributes_type");
    assert_eq!(detail("POST /provision", &[&key], &"[".repeat(50_000))[0]["type"], "json_invalid");
    let long = detail("POST /scale/1x".to_owned().as_str(), &[&key], "");
    assert_eq!(long[0]["input"], "1x");
}

/// Guards: everything without Docker and without a VPN is answered in its documented form.
#[test]
fn without_docker_and_vpn_the_standalone_form_is_answered() {
    let bench = Bench::start(options(&[]), 1);
    let status = bench.get("/vpn/status").json();
    assert_eq!(
        (&status["mode"], &status["connected"], &status["vpn1"]),
        (&json!("disabled"), &json!(false), &json!(null))
    );
    assert_eq!(status["emergency_mode"]["duration_seconds"], 0);
    for (path, status, body) in [
        ("/vpn/publicip", 503, r#"{"detail":"Unable to retrieve VPN public IP"}"#),
        ("/containers/a%2Fb|c", 404, r#"{"detail":"container not found"}"#),
        ("/by-label?key=a&value=b", 200, "[]"),
        ("/engines/stats/all", 200, "{}"),
        ("/engines/a%7Cb/stats", 404, r#"{"detail":"Container not found or stats unavailable"}"#),
        ("/engine-cache/stats", 200, r#"{"total_bytes":0,"volume_count":0,"last_updated":null}"#),
        ("/cache/stats", 200, r#"{"size":0,"hits":0,"misses":0,"hit_rate":0.0,"entries":[]}"#),
    ] {
        let answer = bench.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{path}");
    }
    assert_eq!(bench.get("/engines/stats/total").json()["container_count"], 0);
    assert_eq!(bench.get("/acexy/status").json()["deprecated"], true);
    assert_eq!(ask(&bench, "DELETE /containers/1", &[], "").status, 404);
    assert_eq!(ask(&bench, "POST /gc", &[], "").text(), r#"{"status":"ok"}"#);
    assert_eq!(ask(&bench, "POST /engine-cache/purge", &[], "").json()["status"], "success");
    let blocked = ask(&bench, "POST /provision/acestream", &[], "{}");
    assert_eq!((blocked.status, &blocked.json()["detail"]["code"]), (503, &json!("docker_unavailable")));
}

/// Guards: the description and its pages come from inside the binary and name no other host.
#[test]
fn the_description_can_be_read_and_tried() {
    let bench = Bench::start(options(&[]), 1);
    assert_eq!(bench.get("/openapi.json").json()["info"]["title"], "Sluice");
    for path in ["/docs", "/redoc"] {
        assert_eq!(bench.get(path).header("location"), Some("/docs/"), "{path}");
    }
    let page = bench.get("/docs/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    assert!(!page.text().contains("https://"), "{}", page.text());
    // Whatever the page names comes from here.
    let named = page
        .text()
        .split(['"', '\''])
        .filter_map(|part| part.strip_prefix("./"))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert!(named.len() >= 5, "{named:?}");
    for file in named {
        let answer = bench.get(&format!("/docs/{file}"));
        assert_eq!((answer.status, answer.body.is_empty()), (200, false), "{file}");
    }
    assert!(bench.get("/docs/swagger-initializer.js").text().contains("../openapi.json"));
    assert!(bench.get("/docs/swagger-ui-bundle.js").body.len() > 100_000);
    assert_eq!(bench.get("/docs/oauth2-redirect").status, 200);
    assert_eq!(bench.get("/docs/nothing.js").status, 404);
}

/// Guards: every route is reached under its alias, and a stream asked for under it goes to a shard.
#[test]
fn everything_is_reached_under_the_alias() {
    let mut bench = Bench::start(options(&[]), 1);
    for path in ["/version", "/proxy/status", "/openapi.json", "/nothing"] {
        assert_eq!(bench.get(&format!("/api/v1{path}")).status, bench.get(path).status, "{path}");
    }
    let request = b"GET /api/v1/ace/getstream?id=1 HTTP/1.1\r\nhost: sluice\r\n\r\n";
    let _player = bench.hand_over(request);
    let connection = bench.shards[0].connection();
    assert!(
        connection.unread.starts_with(b"GET /ace/getstream?id=1 HTTP/1.1\r\n"),
        "{:?}",
        connection.unread
    );
}
