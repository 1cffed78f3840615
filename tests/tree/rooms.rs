//! What the rooms of the data plane may name. A new room has to be put into the table before it may exist.

use crate::source::{code_only, paths, resolved, without_tests};
use crate::{File, assert_none, rust_files};

/// One room and what it must not name.
struct Room {
    name: &'static str,
    /// Rooms it must not use; `["*"]` is every other room.
    rooms: &'static [&'static str],
    /// Paths it must not name: a prefix of whole segments, or a prefix of text before `*`, or a suffix after `*`.
    paths: &'static [&'static str],
}

/// No clock, no I/O, no thread, no log: what a pure room must not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net::Tcp*",
    "std::net::Udp*",
    "std::net::ToSocketAddrs",
    "std::os",
    "std::io::std*",
    "std::thread",
    "std::process",
    "std::env",
    "*Instant::now",
    "*SystemTime::now",
    "monoio",
    "libc",
    "socket2",
    "crossbeam",
    "tracing",
    "sluice_contract",
];

const SOCKETS: &[&str] = &["std::net::Tcp*", "std::net::Udp*", "std::os::unix::net", "socket2", "monoio"];
const DISK: &[&str] = &["std::fs", "monoio::fs"];

const ROOMS: &[Room] = &[
    Room { name: "settings", rooms: &["*"], paths: SOCKETS },
    Room { name: "shard", rooms: &[], paths: DISK },
    Room { name: "listen", rooms: &["http", "media", "window", "session", "engine", "client"], paths: DISK },
    Room { name: "http", rooms: &["*"], paths: IMPURE },
    Room { name: "media", rooms: &["*"], paths: IMPURE },
    Room {
        name: "window",
        rooms: &["http", "listen", "shard", "session", "engine", "client", "settings"],
        paths: SOCKETS,
    },
    Room { name: "session", rooms: &["listen"], paths: DISK },
    Room { name: "engine", rooms: &["listen", "shard", "session", "client", "window"], paths: DISK },
    Room { name: "client", rooms: &["listen", "engine"], paths: DISK },
    Room {
        name: "metrics",
        rooms: &["http", "media", "listen", "shard", "window", "session", "engine", "client"],
        paths: SOCKETS,
    },
    Room {
        name: "handover",
        rooms: &[
            "http",
            "listen",
            "shard",
            "session",
            "engine",
            "client",
            "window",
            "media",
            "metrics",
            "settings",
            "supervisor",
        ],
        paths: DISK,
    },
    Room {
        name: "supervisor",
        rooms: &[
            "http", "listen", "shard", "session", "engine", "client", "window", "media", "metrics",
            "settings", "uring",
        ],
        paths: &["monoio", "std::thread", "crossbeam"],
    },
    Room {
        name: "upgrade",
        rooms: &["http", "media", "window", "session", "engine", "client", "listen"],
        paths: DISK,
    },
    Room { name: "uring", rooms: &["*"], paths: &["sluice_contract"] },
];

fn matches(pattern: &str, path: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix('*') {
        return path.ends_with(suffix);
    }
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern || path.strip_prefix(pattern).is_some_and(|rest| rest.starts_with("::")),
    }
}

fn findings(file: &File) -> Vec<String> {
    let below = file.path.strip_prefix("src/").expect("a file of the data plane");
    // Files directly in src/ are lib.rs and main.rs: wiring.
    let Some((name, _)) = below.split_once('/') else { return Vec::new() };
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        return vec![format!("{}: the room {name} is not in the table of this test", file.path)];
    };
    let is_denied = |other: &str| room.rooms == ["*"] || room.rooms.contains(&other);
    let mut found = Vec::new();
    for named in paths(&without_tests(&code_only(&file.text))) {
        let other = resolved(below, &named.path);
        let other = other.as_deref().and_then(|path| path.split("::").next());
        let is_other_room = other.is_some_and(|other| {
            other != name && ROOMS.iter().any(|room| room.name == other) && is_denied(other)
        });
        if is_other_room || room.paths.iter().any(|pattern| matches(pattern, &named.path)) {
            found.push(format!("{}:{} names {}", file.path, named.line, named.path));
        }
    }
    found
}

/// The files that are not compiled outside of tests: `tests.rs`, what lies in `tests/`, and modules of their own file that
/// are declared behind `#[cfg(test)]`.
fn without_test_only(files: Vec<File>) -> Vec<File> {
    let mut test_only: Vec<String> = Vec::new();
    for file in &files {
        let code = code_only(&file.text);
        let stem = file.path.trim_end_matches(".rs");
        let is_root = matches!(file.name(), "mod.rs" | "lib.rs" | "main.rs");
        let directory =
            if is_root { stem.rsplit_once('/').map_or("", |(directory, _)| directory) } else { stem };
        for item in code.split("#[cfg(test)]").skip(1) {
            let name = item.trim_start().strip_prefix("mod ").and_then(|rest| rest.split_once(';'));
            if let Some((name, _)) = name.filter(|(name, _)| !name.contains('{')) {
                test_only.extend([format!("{directory}/{name}.rs"), format!("{directory}/{name}/")]);
            }
        }
    }
    let is_test_only = |file: &File| {
        file.path.contains("/tests/") || test_only.iter().any(|path| file.path.starts_with(path.as_str()))
    };
    files.into_iter().filter(|file| !is_test_only(file)).collect()
}

#[test]
fn modules_behind_cfg_test_are_left_out() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let files = vec![
        file(
            "src/a/mod.rs",
            "#[cfg(test)]\nmod fixtures;\nmod kept;\n#[cfg(test)]\nmod tests { mod inner; }",
        ),
        file("src/a/fixtures.rs", ""),
        file("src/a/kept.rs", "#[cfg(test)]\nmod deep;"),
        file("src/a/kept/deep.rs", ""),
    ];
    let left: Vec<String> = without_test_only(files).into_iter().map(|file| file.path).collect();
    assert_eq!(left, ["src/a/mod.rs", "src/a/kept.rs"]);
}

#[test]
fn rooms_keep_to_themselves() {
    let files = without_test_only(rust_files()).into_iter().filter(|file| file.is_under("src/"));
    assert_none("a room names what it must not", &files.flat_map(|file| findings(&file)).collect::<Vec<_>>());
}

#[test]
fn a_room_that_reaches_out_is_found() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    for (path, text) in [
        ("src/media/ts/x.rs", "use std::{fmt, fs::File};"),
        ("src/media/ts/x.rs", "use crate::{media::ts, window::Window};"),
        ("src/http/x.rs", "fn f() { let now = std::time::Instant::now(); }"),
        ("src/http/x.rs", "use super::super::media;"),
        ("src/window/mod.rs", "use std::net::TcpStream;"),
        ("src/kitchen/mod.rs", ""),
    ] {
        assert_eq!(findings(&file(path, text)).len(), 1, "{path} {text}");
    }
    assert!(
        findings(&file("src/http/x.rs", "use super::head::Head; use std::net::IpAddr; use http::Uri;"))
            .is_empty()
    );
}

#[test]
fn only_the_wiring_names_both_planes() {
    const WIRING: [&str; 2] = ["src/main.rs", "src/appliance.rs"];
    let is_wiring = |file: &File| WIRING.contains(&file.path.as_str());
    let files = rust_files().into_iter().filter(|file| file.is_under("src/") && !is_wiring(file));
    let names_control = |file: &File| {
        let paths = paths(&code_only(&file.text));
        paths
            .iter()
            .any(|named| matches("sluice_control", &named.path) || matches("sluice_bench", &named.path))
    };
    let found: Vec<String> = files.filter(names_control).map(|file| file.path).collect();
    assert_none("only the wiring knows both planes (and the demo)", &found);
}

#[test]
fn docker_is_spoken_to_in_one_room() {
    let is_outside = |file: &File| file.is_under("control/src/") && !file.is_under("control/src/docker/");
    let names_docker =
        |file: &File| paths(&code_only(&file.text)).iter().any(|named| matches("bollard", &named.path));
    let found: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| is_outside(file) && names_docker(file))
        .map(|file| file.path)
        .collect();
    assert_none("bollard is named outside control/src/docker", &found);
}

/// Where calls into the system live outside of the data plane, beside modules named `sys` and what lies below them.
const UNSAFE_MODULES: [&str; 1] = ["control/src/priority.rs"];

#[test]
fn unsafe_code_lives_in_uring_and_in_named_modules() {
    let is_allowed = |file: &File| {
        let is_sys = (file.name() == "sys.rs" || file.path.contains("/sys/")) && !file.is_under("src/");
        file.is_under("src/uring/") || is_sys || UNSAFE_MODULES.contains(&file.path.as_str())
    };
    let is_unsafe = |file: &File| paths(&code_only(&file.text)).iter().any(|named| named.path == "unsafe");
    let found: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| !is_allowed(file) && is_unsafe(file))
        .map(|file| file.path)
        .collect();
    assert_none("unsafe outside src/uring and the named modules of control, bench and tests", &found);
}

#[test]
fn libraries_do_not_print() {
    let is_program = |file: &File| {
        ["tests/", "benches/", "examples/", "src/bin/", "src/cli/"]
            .iter()
            .any(|part| file.path.contains(part))
            || matches!(file.name(), "main.rs" | "build.rs")
    };
    let prints = |file: &File| {
        let code = without_tests(&code_only(&file.text));
        ["println!", "print!", "dbg!"].iter().any(|name| code.contains(name))
    };
    let found: Vec<String> = without_test_only(rust_files())
        .into_iter()
        .filter(|file| !is_program(file) && prints(file))
        .map(|file| file.path)
        .collect();
    assert_none("a library prints instead of logging or returning text", &found);
}
