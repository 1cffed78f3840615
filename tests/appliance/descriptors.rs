//! Short of descriptors: refuse, do not spin, recover.

use crate::common::{SOON, Setup, until};
use crate::sys;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::http;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Guards: when strangers take every descriptor, further connections are refused with 503 or wait, who plays goes on
/// playing, the process does not spin, and once the strangers are gone everybody is served again. A connection whose head
/// is awaited takes two descriptors, so they run out before the limit of connections is reached.
#[test]
fn a_flood_of_connections_costs_the_players_nothing() {
    const FLOOD: usize = 400;
    let channels = vec![ChannelSpec::synthetic(0, 500_000)];
    let engine = Engine::start(Options { channels, ..Options::default() }).unwrap();
    let appliance = Setup::with_engines(&[&engine]).descriptors_max(600).start();
    let player = appliance.player(nth(0).0).start();
    player.wait_decodable(SOON).unwrap();
    let mut flood: Vec<TcpStream> =
        (0..FLOOD).map(|_| TcpStream::connect(appliance.addr()).expect("the backlog has room")).collect();
    appliance.wait_log("an accept fails", |lines| lines.iter().any(|line| line.contains("cannot accept")));
    // Taking the flood in is work; what is judged is the time after it, long enough for a share to mean something.
    player.wait_more(500_000, SOON).unwrap();
    let (began, used) = (Instant::now(), sys::cpu_time(appliance.pid()));
    while began.elapsed() < Duration::from_secs(1) {
        player.wait_more(100_000, SOON).unwrap();
    }
    let share = (sys::cpu_time(appliance.pid()) - used).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.5, "{share:.2} cores are used while nothing can be accepted");
    let refused = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..count]).into_owned();
        text.starts_with("HTTP/1.1 503") && text.contains("descriptors")
    };
    until("somebody is refused", || flood.iter_mut().any(refused));
    drop(flood);
    until("others are served again", || {
        http::get(appliance.addr(), "/health").is_ok_and(|response| response.status() == 200)
    });
    player.wait_more(500_000, SOON).unwrap();
    player.stop();
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
}
