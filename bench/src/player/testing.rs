//! A server in a thread, and a tiny self-checking broadcast for the tests of players and checker: ten packets a period, PAT, PMT, a key frame
//! start with a clock, six video packets, one null packet.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::check::{PACKET_LEN, Packet, crc32};
use crate::channel::{Channel, Timing};

pub(crate) const SEED: u64 = 0x1dea;
pub(crate) const PERIOD: u64 = 10;
pub(crate) const PID_VIDEO: u16 = 0x100;
/// One period lasts 10 ms of the 27 MHz clock.
const PERIOD_TICKS: u64 = 270_000;
const PID_PMT: u16 = 0x1000;

/// The broadcast.
pub(crate) struct Broadcast;

impl Channel for Broadcast {
    fn packet(&self, index: u64) -> [u8; PACKET_LEN] {
        packet(index)
    }

    fn timing(&self) -> Timing {
        Timing { packets: PERIOD, ticks: PERIOD_TICKS }
    }
}

/// The packet at `index`.
pub(crate) fn packet(index: u64) -> [u8; PACKET_LEN] {
    let (period, place) = (index / PERIOD, index % PERIOD);
    match place {
        0 => table(0, period, &[0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | 0x10, 0]),
        1 => {
            table(PID_PMT, period, &[2, 0xb0, 18, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0])
        }
        9 => header(0x1fff, false, 1, 0),
        _ => video(index, period, place),
    }
}

/// The bytes of a range of packets.
pub(crate) fn bytes(range: std::ops::Range<u64>) -> Vec<u8> {
    range.flat_map(packet).collect()
}

/// The adaptation-only packet that flags a discontinuity of its PID before `next`.
pub(crate) fn flag_before(next: &[u8; PACKET_LEN]) -> [u8; PACKET_LEN] {
    let pid = Packet(next).pid();
    let mut bytes = header(pid, false, 2, Packet(next).continuity().wrapping_sub(1));
    (bytes[4], bytes[5]) = (183, 0x80);
    bytes
}

fn header(pid: u16, starts_unit: bool, control: u8, continuity: u8) -> [u8; PACKET_LEN] {
    let mut bytes = [0xff; PACKET_LEN];
    bytes[0] = 0x47;
    bytes[1] = u8::from(starts_unit) << 6 | (pid >> 8) as u8;
    bytes[2] = pid as u8;
    bytes[3] = control << 4 | continuity & 0x0f;
    bytes
}

fn table(pid: u16, period: u64, section: &[u8]) -> [u8; PACKET_LEN] {
    let mut bytes = header(pid, true, 1, period as u8);
    bytes[4] = 0;
    bytes[5..5 + section.len()].copy_from_slice(section);
    bytes[5 + section.len()..][..4].copy_from_slice(&crc32(section).to_be_bytes());
    bytes
}

fn video(index: u64, period: u64, place: u64) -> [u8; PACKET_LEN] {
    let is_key = place == 2;
    let continuity = (period * 7 + place - 2) as u8;
    let mut bytes = header(PID_VIDEO, is_key, if is_key { 3 } else { 1 }, continuity);
    if is_key {
        let base = (period * PERIOD_TICKS / 300) % (1 << 33);
        bytes[4..6].copy_from_slice(&[7, 0x50]);
        bytes[6..10].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
        bytes[10..12].copy_from_slice(&[(base as u8 & 1) << 7 | 0x7e, 0]);
        bytes[12..26].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0, 0, 0, 0, 1, 0x65]);
    }
    write_mark(&mut bytes, index);
    bytes
}

/// Written from the description of the mark, so that a change of its layout does not go unnoticed.
fn write_mark(bytes: &mut [u8; PACKET_LEN], index: u64) {
    const MASK: u64 = 0xa5a5_a5a5_a5a5_a5a5;
    bytes[156..164].copy_from_slice(&(SEED ^ MASK).to_be_bytes());
    bytes[164..172].copy_from_slice(b"SLUICE\0\x01");
    bytes[172..180].copy_from_slice(&(index ^ MASK).to_be_bytes());
    let mut hashed = [&SEED.to_be_bytes()[..], &index.to_be_bytes()[..], &bytes[..180]].concat();
    hashed.resize(hashed.len().next_multiple_of(8), 0);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in hashed.chunks(8) {
        let word = word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 32;
    }
    bytes[180..].copy_from_slice(&hash.to_be_bytes());
}

/// A server for one connection at a time, in a thread: hands each connection, its request read, to `serve`.
pub(crate) fn server(
    connections: usize,
    serve: impl Fn(TcpStream, String) + Send + Sync + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("bound");
    let serve = Arc::new(serve);
    let acceptor = thread::spawn(move || {
        let serving: Vec<_> = (0..connections)
            .map(|_| {
                let (mut stream, _) = listener.accept().expect("a player connects");
                let serve = Arc::clone(&serve);
                thread::spawn(move || {
                    let mut request = Vec::new();
                    let mut byte = [0];
                    while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                        request.push(byte[0]);
                    }
                    serve(stream, String::from_utf8_lossy(&request).into_owned());
                })
            })
            .collect();
        serving.into_iter().for_each(|thread| thread.join().expect("the server thread is fine"));
    });
    (address, acceptor)
}

/// The head of a good answer.
pub(crate) const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";
