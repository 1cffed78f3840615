//! Real decoders judge the channels: ffmpeg and ffprobe must have nothing to say about them.
//!
//! Skipped with a printed reason where ffmpeg is not installed; the project's test machine installs it.

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sluice_bench::channel::{Channel, Clip, PCR_MODULUS, Synthetic, SyntheticOptions, read};

/// A file that is removed when the test ends.
struct Recording(PathBuf);

impl Recording {
    fn new(name: &str, channel: &dyn Channel, first: u64, packets: u64) -> Self {
        let path = std::env::temp_dir().join(format!("sluice-{}-{name}.ts", std::process::id()));
        let mut bytes = Vec::new();
        read(channel, first * 188, (first + packets) * 188, &mut bytes);
        std::fs::write(&path, bytes).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn is_missing(tool: &str) -> bool {
    let missing = Command::new(tool).arg("-version").stdout(Stdio::null()).status().is_err();
    if missing {
        println!("skipped: {tool} is not installed");
    }
    missing
}

fn run(tool: &str, before: &[&str], file: &Path, after: &[&str]) -> String {
    let output = Command::new(tool).args(before).arg(file).args(after).output().expect("the tool starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// Decodes everything and returns whatever ffmpeg complains about.
fn complaints(file: &Path) -> String {
    run("ffmpeg", &["-v", "warning", "-i"], file, &["-f", "null", "-"])
}

/// Guards that the clip decodes without a word across several loop points, at a low and at a high rate.
#[test]
fn clip_loops_without_a_complaint() {
    if is_missing("ffmpeg") {
        return;
    }
    for rate in [150_000, 1_000_000] {
        let clip = Clip::new(rate).expect("the clip fits");
        let recording = Recording::new(&format!("loops-{rate}"), &clip, 0, clip.timing().packets * 7 / 2);
        assert_eq!(complaints(&recording.0), "");
    }
}

/// Guards that joining anywhere at a random access point in a loop far from the epoch decodes cleanly, and that
/// all pictures and audio frames from there on are found.
#[test]
fn clip_decodes_from_a_join_point() {
    if is_missing("ffmpeg") || is_missing("ffprobe") {
        return;
    }
    let clip = Clip::new(500_000).expect("the clip fits");
    let first = 221_000_000 * clip.timing().packets;
    let recording = Recording::new("join", &clip, first, 2 * clip.timing().packets);
    assert_eq!(complaints(&recording.0), "");
    let probed = run(
        "ffprobe",
        &[
            "-v",
            "warning",
            "-count_frames",
            "-show_entries",
            "stream=codec_name,nb_read_frames",
            "-of",
            "csv=p=0",
        ],
        &recording.0,
        &[],
    );
    assert!(probed.contains("h264,400") && probed.contains("aac,750"), "{probed}");
}

/// Guards that the clip decodes without a word when its clocks wrap.
#[test]
fn clip_plays_through_the_clock_wrap() {
    if is_missing("ffmpeg") {
        return;
    }
    let clip = Clip::new(500_000).expect("the clip fits");
    let wrap = PCR_MODULUS / clip.timing().ticks;
    let recording =
        Recording::new("wrap", &clip, (wrap - 1) * clip.timing().packets, 3 * clip.timing().packets);
    assert_eq!(complaints(&recording.0), "");
}

/// Guards that a demultiplexer finds no fault with the synthetic channel, though its pictures do not decode.
#[test]
fn synthetic_channel_demultiplexes_without_a_complaint() {
    if is_missing("ffmpeg") {
        return;
    }
    let channel = Synthetic::new(SyntheticOptions::default()).expect("default options");
    let recording = Recording::new("synthetic", &channel, 0, 5 * channel.timing().packets);
    let text = run(
        "ffprobe",
        &["-v", "quiet", "-show_packets", "-select_streams", "v", "-of", "csv"],
        &recording.0,
        &[],
    );
    let packets: Vec<&str> = text.lines().filter(|line| line.starts_with("packet,")).collect();
    assert_eq!(packets.len(), 125, "{text}");
    let keys = packets.iter().filter(|line| line.contains(",K_")).count();
    assert_eq!(keys, 5);
    let copied = run(
        "ffmpeg",
        &["-v", "warning", "-i"],
        &recording.0,
        &["-map", "0:v", "-c", "copy", "-f", "null", "-"],
    );
    assert!(!copied.contains("orrupt") && !copied.contains("ontinuity"), "{copied}");
}
