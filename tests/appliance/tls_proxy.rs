//! Behind a proxy that speaks TLS under a name and a path of its own, as home servers have it.

use crate::common::{Appliance, Setup, eventually, until};
use crate::decoders::{is_there, run};
use crate::scene::RATE;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A name that nobody resolves, and the path the appliance is put under.
const HOST: &str = "tv.example.org";
const UNDER: &str = "/living/room/";

/// Debian installs it where only root looks.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

/// A running nginx with a certificate it signed itself; ended when dropped.
struct Proxy {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Proxy {
    fn start(appliance: &Appliance) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let path = directory.path().to_string_lossy().into_owned();
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        openssl.args(["-subj", &format!("/CN={HOST}")]).arg("-keyout").arg(format!("{path}/key.pem"));
        run(openssl.arg("-out").arg(format!("{path}/cert.pem"))).expect("openssl is there");
        // Its port cannot be left to the kernel: one that somebody else is quicker with is tried again.
        let (child, port) = eventually("nginx listens", || {
            let port =
                TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
            std::fs::write(format!("{path}/nginx.conf"), configuration(&path, port, appliance))
                .expect("written");
            let mut command = Command::new(program());
            command.arg("-p").arg(&path).arg("-c").arg(format!("{path}/nginx.conf")).arg("-e").arg("stderr");
            let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx starts");
            let listens = eventually("nginx listens or ends", || match child.try_wait() {
                Ok(Some(_)) => Some(false),
                _ => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
            });
            listens.then_some((child, port))
        });
        Self { child, port, _directory: directory }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}{UNDER}", self.port)
    }

    /// What curl gets, called by a name that is not the appliance's; `-w` shows what is asked for behind the body.
    fn curl(&self, arguments: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--insecure", "--max-time", "20", "--resolve"])
            .arg(format!("{HOST}:{}:127.0.0.1", self.port));
        run(curl.args(arguments)).expect("curl is there").out
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(path: &str, port: u16, appliance: &Appliance) -> String {
    let to = appliance.addr();
    format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr;
         events {{ worker_connections 128; }}
         http {{
           access_log off;
           client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
           fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
           server {{
             listen 127.0.0.1:{port} ssl;
             ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;
             location {UNDER} {{
               proxy_pass http://{to}/;
               proxy_http_version 1.1;
               proxy_set_header Connection '';
               proxy_set_header Host $http_host;
               proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
               proxy_set_header X-Forwarded-Proto https;
               proxy_set_header X-Forwarded-Host $http_host;
               proxy_buffering off;
             }}
           }}
         }}"
    )
}

/// Guards: behind TLS, another name and a path in front, every address a player is given leads back to where it came
/// from; a real player plays there; and the proxy says who the player is because it is trusted.
#[test]
fn hls_plays_behind_a_tls_proxy() {
    if !["openssl", "curl", program()].into_iter().all(is_there) {
        return;
    }
    let channel = ChannelSpec::clip(0, RATE);
    let engine = Engine::start(Options { channels: vec![channel], ..Options::default() }).expect("it starts");
    let appliance = Setup::with_engines(&[&engine]).env("TRUSTED_PROXIES", "127.0.0.1").start();
    let proxy = Proxy::start(&appliance);
    let id = nth(0).0;
    let manifest = format!("{}ace/manifest.m3u8?id={id}", proxy.url(HOST));
    let viewer = ["-H", "X-Forwarded-For: 198.51.100.7"];
    let listed = proxy.curl(&[&viewer[..], &["-L", "-w", "\n%{url_effective}", &manifest]].concat());
    let (text, place) = listed.rsplit_once('\n').expect("an address behind the text");
    let (directory, file) = place.rsplit_once('/').expect("a directory");
    assert!(text.starts_with("#EXTM3U") && file == "index.m3u8", "{listed}");
    assert!(directory.starts_with(&format!("{}ace/hls/", proxy.url(HOST))), "{place}");
    assert!(!text.contains("://") && !text.contains("\n/"), "an address that names a host or a root: {text}");
    let segment = text.lines().find(|line| line.ends_with(".ts")).expect("a segment");
    let take = |more: &[&str]| {
        let address = format!("{directory}/{segment}");
        proxy.curl(
            &[more, &["-o", "/dev/null", "-w", "%{http_code} %{size_download} %{content_type}", &address]]
                .concat(),
        )
    };
    let whole = take(&viewer);
    assert!(whole.starts_with("200 ") && whole.ends_with(" video/mp2t"), "{whole}");
    assert_eq!(take(&["-r", "188-375"]), "206 188 video/mp2t");
    until("the player is shown by the address the proxy names", || {
        let clients = appliance.json(&format!("/proxy/streams/{id}/clients"));
        clients["clients"]
            .as_array()
            .is_some_and(|all| all.iter().any(|it| it["ip_address"] == "198.51.100.7"))
    });
    // A player that knows nothing of all this, and calls the proxy by another name.
    let url = format!("{}ace/manifest.m3u8?id={id}", proxy.url("localhost"));
    let decode = ["-hide_banner", "-nostdin", "-v", "error", "-i", &url, "-t", "6", "-f", "null", "-"];
    if let Some(said) = run(Command::new("ffmpeg").args(decode)) {
        assert_eq!(said.complaints, "");
    }
    assert_eq!(engine.control().counters(id).unwrap().opens, 1);
}
