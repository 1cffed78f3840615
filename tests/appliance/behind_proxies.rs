//! Behind NGINX and HAProxy with the very files of `docs/examples`.

use crate::common::{Appliance, SOON, Setup, eventually, until};
use crate::decoders::is_there;
use crate::stage::{engine, plays};
use sluice_bench::channel::nth;
use sluice_bench::player::http;
use sluice_bench::player::{Player, check};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Where the player comes from; not trusted.
const PLAYER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A running proxy; ended when dropped.
struct Proxy {
    child: Child,
    addr: SocketAddr,
    _directory: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program, also where only root looks for it.
fn program(name: &str) -> String {
    let other = format!("/usr/sbin/{name}");
    if Path::new(&other).exists() { other } else { name.to_owned() }
}

/// An example with the ports of this test in it.
fn example(name: &str, appliance: &Appliance, port: u16) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
    let text = std::fs::read_to_string(path).expect("the example is there");
    assert!(text.contains("127.0.0.1:8000") && text.contains("8080"), "{name} names other ports");
    let text = text.replace("127.0.0.1:8000", &appliance.addr().to_string());
    text.replace("0.0.0.0:8080", &format!("127.0.0.1:{port}"))
        .replace("listen 8080", &format!("listen 127.0.0.1:{port}"))
}

/// Starts a proxy on a port of its own; `write` lays its files out and gives its arguments.
fn start(name: &str, write: impl Fn(&str, u16) -> Vec<String>) -> Proxy {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = directory.path().to_string_lossy().into_owned();
    // Its port cannot be left to the kernel: one that somebody else is quicker with is tried again.
    let (child, port) = eventually("the proxy listens", || {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let mut command = Command::new(program(name));
        command.args(write(&path, port)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the proxy starts");
        let listens = eventually("it listens or ends", || match child.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
        });
        listens.then_some((child, port))
    });
    Proxy { child, addr: (Ipv4Addr::LOCALHOST, port).into(), _directory: directory }
}

/// What has to be right behind any proxy: play, joining, HLS, whose address counts, leaving.
fn serves(appliance: &Appliance, proxy: &Proxy, engine: &sluice_bench::engine::Engine) {
    let (id, infohash) = nth(0);
    let clients = || appliance.json(&format!("/proxy/streams/{id}/clients"))["clients"].clone();
    let addresses = || {
        let all = clients();
        let all = all.as_array().cloned().unwrap_or_default();
        all.iter().map(|it| it["ip_address"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let reference = Some(engine.control().broadcast(infohash).expect("the channel exists"));
    let plan = || {
        Player::get(proxy.addr, &format!("/ace/getstream?id={id}"))
            .check(check::Options { reference: reference.clone(), ..check::Options::default() })
            .source(PLAYER.into())
    };
    let (first, second) = (plan().start(), plan().start());
    plays(&first);
    plays(&second);
    until("both are shown by their own address", || addresses() == [PLAYER.to_string(), PLAYER.to_string()]);
    second.stop();
    until("who left is gone", || addresses() == [PLAYER.to_string()]);

    let moved = http::get(proxy.addr, &format!("/ace/manifest.m3u8?id={id}")).expect("it answers");
    let place = moved.header("location").expect("it is sent to a place of its own").to_owned();
    // However it is written, it leads to the proxy; a player reads one that begins with no slash from where it asked.
    let path = match place.strip_prefix("http://") {
        Some(rest) => rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}")),
        None if place.starts_with('/') => place.clone(),
        None => format!("/ace/{place}"),
    };
    let (directory, _) = path.rsplit_once('/').expect("a path");
    let playlist = eventually("a playlist with a segment", || {
        let answer = http::get(proxy.addr, &format!("{directory}/index.m3u8")).ok()?;
        let text = answer.text();
        text.lines().find(|line| line.ends_with(".ts")).map(str::to_owned)
    });
    let segment = http::get(proxy.addr, &format!("{directory}/{playlist}")).expect("a segment");
    assert_eq!((segment.status(), segment.body.len() % 188), (200, 0));
    assert!(segment.body.len() > 188, "an empty segment");

    first.wait_more(1, SOON).expect("the continuous player goes on meanwhile");
    assert_eq!(first.report().faults(), Vec::<String>::new());
    first.stop();
    until("the last one is gone", || !addresses().contains(&PLAYER.to_string()));
    assert_eq!(engine.control().counters(id).expect("it was played").opens, 1);
}

/// Guards the example for NGINX.
#[test]
fn nginx_passes_everything_on() {
    if !is_there(&program("nginx")) {
        return;
    }
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("TRUSTED_PROXIES", "127.0.0.1/32").start();
    let proxy = start("nginx", |path, port| {
        let text = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr; events {{ worker_connections 64; }}
             http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
             fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
             {} }}",
            example("nginx.conf", &appliance, port)
        );
        std::fs::write(format!("{path}/nginx.conf"), text).expect("written");
        ["-p", path, "-c", &format!("{path}/nginx.conf"), "-e", "stderr"].map(str::to_owned).to_vec()
    });
    serves(&appliance, &proxy, &engine);
}

/// Guards the example for HAProxy.
#[test]
fn haproxy_passes_everything_on() {
    if !is_there(&program("haproxy")) {
        return;
    }
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine])
        .env("TRUSTED_PROXIES", "127.0.0.1/32")
        .env("PROXY_PROTOCOL", "true")
        .start();
    let proxy = start("haproxy", |path, port| {
        std::fs::write(format!("{path}/haproxy.cfg"), example("haproxy.cfg", &appliance, port))
            .expect("written");
        ["-db", "-f", &format!("{path}/haproxy.cfg")].map(str::to_owned).to_vec()
    });
    serves(&appliance, &proxy, &engine);
}
