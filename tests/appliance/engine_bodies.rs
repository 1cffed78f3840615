//! However an engine delimits its body, players get the same bytes.

use crate::common::{SOON, Setup, until};
use crate::scene::{RATE, checked, engine};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Faults, Framing};

/// Guards: bodies that end with the connection, chunked ones, and chunked ones with extensions, behind redirects
/// without any framing, are played without a lost or damaged packet.
#[test]
fn every_framing_carries_the_same_bytes() {
    let framings = [Framing::Close, Framing::Chunked, Framing::ChunkedExtensions];
    let spec = |(n, framing): (u32, &Framing)| {
        ChannelSpec::synthetic(n, RATE).with_faults(Faults { framing: *framing, ..Faults::default() })
    };
    let engine = engine((0..).zip(&framings).map(spec).collect());
    let appliance = Setup::with_engines(&[&engine]).start();
    let players: Vec<_> =
        (0..).zip(&framings).map(|(n, _)| checked(&appliance, &engine, n).start()).collect();
    for (n, player) in (0..).zip(&players) {
        player.wait_bytes(6 * RATE, SOON).unwrap();
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new(), "channel {n}");
        assert_eq!(engine.control().counters(nth(n).1).unwrap().bodies, 1, "channel {n} was read in one go");
    }
    let hops = engine.control().requests(0);
    let hops = hops.iter().filter(|request| request.target.starts_with("/content/")).count();
    assert_eq!(hops, framings.len(), "the second redirect was followed each time");
}

/// Guards: a body whose announced length is over is the end of that body and not of the stream.
#[test]
fn a_body_with_a_length_is_followed_by_another() {
    let faults = Faults { framing: Framing::ContentLength(11 * RATE), ..Faults::default() };
    let engine = engine(vec![ChannelSpec::synthetic(0, RATE).with_faults(faults)]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = checked(&appliance, &engine, 0).start();
    player.wait_decodable(SOON).unwrap();
    until("the body is read anew", || engine.control().counters(nth(0).1).unwrap().bodies >= 2);
    player.wait_more(RATE, SOON).unwrap();
    assert_eq!(player.end(), None);
    assert_eq!(player.report().faults(), Vec::<String>::new());
}
