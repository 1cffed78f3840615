//! What ffmpeg makes of the packets built here. It is the strictest player in common use, and the one that most
//! transcoders behind a stream are made of.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

use super::{
    packet::PACKET,
    scanner::{Event, Rap, Scanner},
    stitch,
};

/// Six seconds of real video and audio with a key picture every second; `None`, with a printed reason, without ffmpeg.
fn real_stream() -> Option<Vec<u8>> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=6"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:duration=6", "-shortest"])
        .args(["-c:v", "mpeg2video", "-g", "25", "-c:a", "mp2", "-f", "mpegts", "pipe:1"])
        .stdin(Stdio::null())
        .output();
    match made {
        Ok(output) if output.status.success() => Some(output.stdout),
        Ok(output) => panic!("ffmpeg failed: {}", String::from_utf8_lossy(&output.stderr)),
        Err(reason) => {
            eprintln!("skipped: ffmpeg does not run here ({reason})");
            None
        }
    }
}

/// Lets ffmpeg decode the bytes and gives everything it says.
fn decode(bytes: Vec<u8>) -> String {
    let mut child = Command::new("ffmpeg")
        .args(["-v", "debug", "-f", "mpegts", "-i", "pipe:0", "-f", "null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg ran a moment ago");
    let mut input = child.stdin.take().expect("stdin is piped");
    // ffmpeg may stop reading early; what it says about that is what the test looks at.
    let feeder = thread::spawn(move || drop(input.write_all(&bytes)));
    let output = child.wait_with_output().expect("ffmpeg ends with its input");
    feeder.join().expect("the feeder does not panic");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn raps(bytes: &[u8]) -> Vec<Rap> {
    let mut found = Vec::new();
    Scanner::new().scan(0, bytes, &mut |event| {
        if let Event::RandomAccess(rap) = event {
            found.push(rap);
        }
    });
    found
}

fn continuity_complaints(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("Continuity check failed")).collect()
}

/// A player that joins in the middle decodes from its first byte without a complaint.
#[test]
fn ffmpeg_decodes_a_join_without_a_complaint() {
    let Some(stream) = real_stream() else { return };
    let points = raps(&stream);
    assert!(points.len() >= 5, "a key picture every second");
    let rap = &points[2];
    let prefix = stitch::join_prefix(&rap.tables, &rap.continuity);
    let said = decode([&prefix, &stream[rap.offset as usize..]].concat());
    assert!(continuity_complaints(&said).is_empty(), "{said}");
    for complaint in
        ["Invalid frame dimensions", "PES packet size mismatch", "invalid mb type", "Packet corrupt"]
    {
        assert!(!said.contains(complaint), "{complaint}: {said}");
    }
}

/// A player that is moved over lost media is told so: no continuity error, where the bare cut has some.
#[test]
fn ffmpeg_accepts_a_flagged_skip_and_notices_a_bare_one() {
    let Some(stream) = real_stream() else { return };
    let points = raps(&stream);
    let rap = &points[4];
    let cut = points[1].offset as usize + PACKET * 3;
    let rest = &stream[rap.offset as usize..];
    let prefix = stitch::skip_prefix(&rap.tables, &rap.continuity);
    let flagged = decode([&stream[..cut], &prefix, rest].concat());
    assert!(continuity_complaints(&flagged).is_empty(), "{:?}", continuity_complaints(&flagged));
    let bare = decode([&stream[..cut], rest].concat());
    assert!(!continuity_complaints(&bare).is_empty(), "the cut must be one that ffmpeg notices");
}

/// Null packets between packets do not disturb.
#[test]
fn ffmpeg_ignores_null_packets() {
    let Some(stream) = real_stream() else { return };
    let mut padded = Vec::with_capacity(2 * stream.len());
    for packet in stream.chunks(PACKET) {
        padded.extend_from_slice(packet);
        padded.extend_from_slice(&stitch::null_packet());
    }
    let said = decode(padded);
    assert!(continuity_complaints(&said).is_empty() && !said.contains("corrupt"), "{said}");
}
