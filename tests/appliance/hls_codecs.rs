//! HLS of streams as real encoders make them: every codec is cut where it can be begun with.

use crate::common::{Setup, until};
use crate::decoders::run;
use crate::hls::Viewer;
use sluice_bench::channel::{Source, nth};
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds of each clip, after which it begins again: in the middle of a segment, its clock going back.
const LENGTH: u64 = 13;

/// What ffmpeg is told to encode, and what ffprobe is to find in every segment.
const CODECS: [(&[&str], &str); 3] = [
    (
        &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "keyint=50:min-keyint=50:scenecut=0:log-level=none",
        ],
        "hevc",
    ),
    (&["-c:v", "mpeg2video", "-g", "50", "-bf", "0", "-b:v", "300k"], "mpeg2video"),
    (&["-vn"], ""),
];

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("codecs-{}-{name}", std::process::id()))
}

/// A clip at a constant rate; `None` where ffmpeg is not installed.
fn encode(video: &[&str], name: &str) -> Option<Vec<u8>> {
    let file = scratch(&format!("{name}.ts"));
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"]);
    ffmpeg
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-pix_fmt", "yuv420p"])
        .args(video);
    ffmpeg.args([
        "-c:a",
        "aac",
        "-b:a",
        "64k",
        "-t",
        &LENGTH.to_string(),
        "-muxrate",
        "1000k",
        "-f",
        "mpegts",
    ]);
    run(ffmpeg.arg(&file))?;
    let bytes = std::fs::read(&file).expect("it was written");
    let _ = std::fs::remove_file(file);
    Some(bytes)
}

/// Guards: HEVC, MPEG-2 and sound alone are cut where decoding can begin: each segment, those around the place where the
/// clip begins again included, decodes alone and without a complaint.
#[test]
fn segments_of_every_codec_decode_alone() {
    let mut channels = Vec::new();
    for (n, (video, name)) in (0..).zip(CODECS) {
        let Some(bytes) = encode(video, name) else { return };
        let rate = bytes.len() as u64 / LENGTH;
        channels.push(ChannelSpec::new(n, Source::Raw { bytes, rate }));
    }
    let engine = Engine::start(Options { channels, ..Options::default() }).expect("it starts");
    let appliance = Setup::with_engines(&[&engine]).start();
    let mut viewers: Vec<Viewer> =
        (0..3).map(|n| Viewer::enter(&appliance, &format!("id={}", nth(n).0))).collect();
    for (viewer, (_, codec)) in viewers.iter_mut().zip(CODECS) {
        // Whatever the time of day, the clip has begun anew in that much.
        until("the clip has begun anew", || viewer.playlist().text.contains("#EXT-X-DISCONTINUITY\n"));
        let playlist = viewer.playlist();
        for segment in &playlist.segments {
            let file = scratch(&format!("{codec}-{segment}"));
            std::fs::write(&file, viewer.get(segment).body).unwrap();
            let probe = ["-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames"];
            let said = run(Command::new("ffprobe").args(probe).args(["-of", "csv=p=0"]).arg(&file)).unwrap();
            let _ = std::fs::remove_file(&file);
            assert!(codec.is_empty() || said.out.contains(&format!("{codec},")), "{segment}: {}", said.out);
            let frames: Vec<u64> =
                said.out.lines().filter_map(|line| line.split(',').nth(1)?.parse().ok()).collect();
            assert!(
                said.out.contains("aac,") && frames.iter().all(|count| *count > 0),
                "{segment}: {}",
                said.out
            );
            assert_eq!(said.complaints, "", "{codec} {segment} of {}", playlist.text);
        }
    }
}
