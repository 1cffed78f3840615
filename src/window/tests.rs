//! The window against real sockets: every byte a reader gets is the one that belongs at its offset.

#![allow(clippy::disallowed_methods, reason = "the reader of these tests is at the far end of a socket")]

use super::*;
use crate::media::ts::{Continuity, MediaTime, testing};
use proptest::prelude::*;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn window(bytes: u64) -> Window {
    Window::new(Budget::new(bytes).reserve(bytes).unwrap()).unwrap()
}

/// Both ends of a TCP connection, non-blocking: the window's and the reader's.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    for end in [&ours, &reader] {
        end.set_nonblocking(true).unwrap();
        end.set_nodelay(true).unwrap();
    }
    (ours, reader)
}

/// The packet that belongs at an offset: no byte of it is zero, and it tells where it belongs.
fn packet_at(offset: u64) -> [u8; PACKET] {
    let mut state = (offset / PACKET as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 | 1
    })
}

fn media(from: u64, packets: u64) -> Vec<u8> {
    (0..packets).flat_map(|packet| packet_at(from + packet * PACKET as u64)).collect()
}

/// What one reader got: pieces of the stream, each from an offset on.
struct Reader {
    socket: TcpStream,
    /// Offset of the next byte to come.
    at: u64,
    /// Bytes received.
    total: u64,
    /// Where the cursor jumps: bytes received until then, and the offset it goes on at.
    jumps: std::collections::VecDeque<(u64, u64)>,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads at most `most` bytes and compares each with the byte of its offset.
    fn read(&mut self, most: usize) -> usize {
        let mut read = 0;
        while read < most {
            let space = self.buffer.len().min(most - read);
            let count = match self.socket.read(&mut self.buffer[..space]) {
                Ok(0) => panic!("the connection ended"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            };
            let mut bytes = &self.buffer[..count];
            while !bytes.is_empty() {
                while let Some((_, to)) = self.jumps.front().filter(|(after, _)| *after == self.total) {
                    self.at = *to;
                    self.jumps.pop_front();
                }
                let into = (self.at % PACKET as u64) as usize;
                let mut here = bytes.len().min(PACKET - into);
                if let Some((after, _)) = self.jumps.front() {
                    here = here.min((after - self.total) as usize);
                }
                let expected = packet_at(self.at - into as u64);
                assert!(bytes[..here] == expected[into..into + here], "wrong bytes at offset {}", self.at);
                self.at += here as u64;
                self.total += here as u64;
                bytes = &bytes[here..];
            }
            read += count;
        }
        read
    }
}

/// One step of a history: what arrives, how long it took, how much is sent and read.
#[derive(Clone, Debug)]
struct Step {
    packets: u64,
    wait: Duration,
    count: u64,
    reads: usize,
    retained: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // The reader is far slower than the stream, so that the tail and the release mark pass it.
    let step = (0u64..16_000, 0u64..1_500, 1u64..3 * MIB, 0usize..300 << 10, 0u64..12 * MIB);
    prop::collection::vec(step, 15..45).prop_map(|steps| {
        let step = |(packets, wait, count, reads, retained)| Step {
            packets,
            wait: Duration::from_millis(wait),
            count,
            reads,
            retained,
        };
        steps.into_iter().map(step).collect()
    })
}

/// Plays a history. The client behaves as the appliance's: fallen behind the tail, it finishes its packet and goes on at
/// the tail.
fn check(steps: &[Step]) {
    let mut now = Instant::now();
    let mut window = window(64 * MIB);
    let (ours, theirs) = connection();
    let mut reader =
        Reader { socket: theirs, at: 0, total: 0, jumps: Default::default(), buffer: vec![0; 64 << 10] };
    let (mut cursor, mut sent, mut received) = (0u64, 0u64, 0u64);
    let drained = Step { packets: 0, wait: Duration::ZERO, count: u64::MAX, reads: usize::MAX, retained: 0 };
    let rounds = steps.len() + 2_000;
    for step in steps.iter().chain(std::iter::repeat(&drained)).take(rounds) {
        now += step.wait;
        window.append(&media(window.head(), step.packets)).unwrap();
        if step.packets > 0 {
            window.trim(now, Retention::new(step.retained, 0)).unwrap();
        }
        match window.send(ours.as_fd(), cursor, step.count).unwrap() {
            Sent::Bytes(count) => {
                assert!(count > 0, "a cursor before the head was sent nothing");
                cursor += count;
                sent += count;
            }
            Sent::AtHead => assert_eq!(cursor, window.head()),
            Sent::Blocked => assert!(cursor < window.head()),
            Sent::Behind => {
                assert!(cursor < window.tail());
                if let Some(rest) = window.rest_of_packet(cursor).unwrap() {
                    let into = (cursor % PACKET as u64) as usize;
                    if into > 0 {
                        assert_eq!(rest, packet_at(cursor - into as u64)[into..], "the rest at {cursor}");
                    }
                } else {
                    assert!(cursor % PACKET as u64 != 0, "a boundary has an empty rest");
                }
                reader.jumps.push_back((sent, window.tail()));
                cursor = window.tail();
            }
            Sent::Overrun => panic!("one thread sends and releases"),
        }
        received += reader.read(step.reads) as u64;
        if step.reads == usize::MAX && cursor == window.head() && received == sent {
            break;
        }
    }
    // Loopback delivers soon; what is on its way is read to its end.
    let deadline = Instant::now() + Duration::from_secs(20);
    while received < sent {
        assert!(Instant::now() < deadline, "{received} of {sent} bytes arrived");
        received += reader.read(usize::MAX) as u64;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Guards: whatever arrives, is retained and is released, and however slowly it is read: a reader never gets a zero
    /// or a byte from elsewhere.
    #[test]
    fn every_byte_received_is_the_one_of_its_offset(steps in steps()) {
        check(&steps);
    }
}

/// Guards: reading past the head is an error, and so is reading what was released; nothing invents zeros.
#[test]
fn a_copy_is_of_what_is_there_or_an_error() {
    let start = Instant::now();
    let mut window = window(64 * MIB);
    let packets = 16 * MIB / PACKET as u64;
    window.append(&media(0, packets)).unwrap();
    let mut bytes = [0; PACKET];
    assert!(window.read(window.head() - 187, &mut bytes).is_err(), "read past the head");
    window.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, packet_at(0));
    window.trim(start, Retention::new(0, 0)).unwrap();
    window.trim(start + Duration::from_secs(3), Retention::new(0, 0)).unwrap();
    assert!(window.resident() < window.head(), "nothing was released");
    assert!(window.read(0, &mut bytes).is_err(), "read what was released");
    assert_eq!(window.rest_of_packet(1).unwrap(), None);
    window.read(window.tail(), &mut bytes).unwrap();
    assert_eq!(bytes, packet_at(window.tail()));
}

/// Guards: a window that outgrew its reservation says so until its blocks are released, and its memory then fits.
#[test]
fn a_full_window_drains_by_time() {
    let start = Instant::now();
    let mut window = window(SESSION_BYTES_MIN);
    while !window.is_full() {
        window.append(&media(window.head(), 1_000)).unwrap();
        window.trim(start, Retention::new(30 * MIB, 0)).unwrap();
        assert!(window.resident() < SESSION_BYTES_MIN + MIB, "it never becomes full");
    }
    // Releasing follows the tails of two seconds ago; more media has to come before the tail moves at all.
    let mut now = start;
    for _ in 0..40 {
        now += Duration::from_millis(500);
        window.trim(now, Retention::new(30 * MIB, 0)).unwrap();
        if !window.is_full() {
            window.append(&media(window.head(), 2_000)).unwrap();
        }
        assert!(window.resident() <= SESSION_BYTES_MIN + MIB, "{} bytes in use", window.resident());
    }
    assert!(window.head() > SESSION_BYTES_MIN + 2 * MIB, "a full window never took more");
}

/// Guards the place a client joins at: far enough behind, else the oldest; and that points before the tail are gone.
#[test]
fn joins_are_as_far_behind_as_asked_or_at_the_oldest_point() {
    let point = |second: u64| AccessPoint {
        offset: second * 188_000,
        media_time: MediaTime::from_ticks(second * 27_000_000),
        tables: testing::tables(),
        continuity: Continuity::new([]),
    };
    let mut access = AccessIndex::default();
    assert!(access.join(Behind::Bytes(0), 0).is_none());
    (0..30).for_each(|second| access.push(point(second)));
    let head = 30 * 188_000;
    access.set_head_time(MediaTime::from_ticks(30 * 27_000_000));
    let joined = |access: &AccessIndex, behind| access.join(behind, head).unwrap().offset / 188_000;
    assert_eq!(joined(&access, Behind::Media(Duration::from_secs(10))), 20);
    assert_eq!(joined(&access, Behind::Media(Duration::from_millis(10_500))), 19);
    assert_eq!(joined(&access, Behind::Media(Duration::ZERO)), 29);
    assert_eq!(joined(&access, Behind::Bytes(188_000 * 3)), 27);
    assert_eq!(joined(&access, Behind::Media(Duration::from_secs(100))), 0);
    assert_eq!(access.behind(20 * 188_000 + 5), Duration::from_secs(10));
    access.forget_before(25 * 188_000 - 1);
    assert_eq!(access.span(), Duration::from_secs(5));
    assert_eq!(joined(&access, Behind::Media(Duration::from_secs(10))), 25);
    assert_eq!(access.behind(0), Duration::from_secs(5), "before the oldest point it counts from there");
}

/// Guards where a client may not stand and where it goes on instead: behind the bound only what certainly is, at the
/// place of a joiner, nearer where that is too far back, and at the newest point where even that is.
#[test]
fn clients_too_far_behind_land_within_their_bound() {
    let point = |second: u64| AccessPoint {
        offset: second * 188_000,
        media_time: MediaTime::from_ticks(second * 27_000_000),
        tables: testing::tables(),
        continuity: Continuity::new([]),
    };
    let (mut access, head) = (AccessIndex::default(), 30 * 188_000);
    let seconds = |seconds| LagMax { time: Some(Duration::from_secs(seconds)), bytes: None };
    assert_eq!(access.lag_floor(seconds(1), head), 0, "a stream without points has no bound in time");
    (0..30).step_by(2).for_each(|second| access.push(point(second)));
    access.set_head_time(MediaTime::from_ticks(30 * 27_000_000));
    assert_eq!(access.lag_floor(LagMax::default(), head), 0);
    assert_eq!(access.lag_floor(seconds(15), head), 14 * 188_000);
    assert_eq!(access.lag_floor(seconds(14), head), 14 * 188_000, "at the bound is not beyond it");
    assert_eq!(access.lag_floor(seconds(31), head), 0);
    let both = LagMax { bytes: Some(188_000), ..seconds(15) };
    assert_eq!(access.lag_floor(both, head), 29 * 188_000, "the nearer bound counts");
    let behind = Behind::Media(Duration::from_secs(10));
    let landing = |least: u64| access.landing(behind, head, least).unwrap().offset / 188_000;
    assert_eq!((landing(0), landing(20 * 188_000), landing(20 * 188_000 + 1)), (20, 20, 22));
    assert_eq!(landing(29 * 188_000), 28, "there is none near enough");
}

/// Guards: a window whose budget is spent says what it can offer, takes what its rate needs at least before newcomers,
/// and lets them in again when it has that.
#[test]
fn a_fast_stream_takes_the_memory_its_rate_needs() {
    let budget = Budget::new(36 * MIB);
    let mut window = Window::new(budget.reserve(SESSION_BYTES_MIN).unwrap()).unwrap();
    let other = budget.reserve(SESSION_BYTES_MIN).unwrap();
    let fast = Retention::new(0, 3 * MIB);
    assert!(fast.least_bytes() > SESSION_BYTES_MIN + 5 * MIB);
    let now = Instant::now();
    window.trim(now, fast).unwrap();
    assert!(window.shortage().is_some_and(|offered| offered < fast.bytes()), "{:?}", window.shortage());
    assert!(budget.reserve(MIB).is_none(), "a newcomer got what the stream needs");
    drop(other);
    window.trim(now, fast).unwrap();
    assert_eq!((window.shortage(), budget.reserved()), (None, fast.resident_bytes()));
    assert!(budget.reserve(MIB).is_some());
}

/// Guards: the index stays bounded and in order when a stream has more points than it keeps.
#[test]
fn a_stream_of_nothing_but_access_points_is_thinned_out() {
    let mut access = AccessIndex::default();
    for n in 0..20_000u64 {
        access.push(AccessPoint {
            offset: n * PACKET as u64,
            media_time: MediaTime::from_ticks(n * 1_000),
            tables: testing::tables(),
            continuity: Continuity::new([]),
        });
    }
    assert!((512..=2048).contains(&access.len()), "{} points", access.len());
    assert_eq!(access.newest().unwrap().offset, 19_999 * PACKET as u64);
    let oldest = access.join(Behind::Media(Duration::from_secs(3_600)), 0).unwrap();
    assert!(oldest.offset < 5_000 * PACKET as u64, "the oldest part was lost");
}
