//! Real players and decoders: what they make of what Sluice sends.

use crate::common::{SOON, Setup, eventually, until};
use crate::scene::{RATE, serving};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Debian's `nobody`, for a player that refuses to be started by root.
const NOBODY: u32 = 65_534;

/// What a program said: standard output, and what it complained of.
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub complaints: String,
}

/// Runs a program to its end. `None`, with the reason printed, where it is not installed; in CI that is a failure.
pub fn run(command: &mut Command) -> Option<Said> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("skipped: {program} cannot be started ({error})");
            return None;
        }
        Err(error) => panic!("{program} cannot be started ({error})"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { out: text(&output.stdout), complaints: text(&output.stderr) };
    assert!(output.status.success(), "{program}: {} {}", said.out, said.complaints);
    Some(said)
}

/// Whether a program is installed; where it is not, the reason is printed, and in CI it is a failure.
pub fn is_there(program: &str) -> bool {
    let started = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    if let Err(error) = &started {
        assert!(std::env::var_os("CI").is_none(), "{program} cannot be started ({error})");
        println!("skipped: {program} cannot be started ({error})");
    }
    started.is_ok()
}

/// Lets a program run that refuses to be started by root, as VLC does; only root can become somebody else.
pub fn not_as_root(command: &mut Command) {
    command.env("HOME", "/tmp").current_dir("/tmp");
    if std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0) {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// Guards: what `make run` shows: a real decoder finds H.264 and AAC, and decodes seconds of it from the first byte, as
/// the first player and as one that joins, without a word of complaint.
#[test]
fn ffmpeg_decodes_the_demo_from_its_first_byte() {
    let appliance = Setup::bare().arg("--demo").start();
    let url = format!("http://{}/ace/getstream?id={}", appliance.addr(), nth(0).0);
    let decode = ["-hide_banner", "-nostdin", "-v", "warning", "-i", &url, "-t", "5", "-f", "null", "-"];
    for attempt in ["first", "joining"] {
        let Some(said) = run(Command::new("ffmpeg").args(decode)) else { return };
        assert_eq!(said.complaints, "", "{attempt}");
    }
    let probe = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", &url];
    let Some(said) = run(Command::new("ffprobe").args(probe)) else { return };
    let mut codecs: Vec<&str> = said.out.split_whitespace().collect();
    codecs.sort_unstable();
    codecs.dedup();
    assert_eq!((codecs, said.complaints.as_str()), (vec!["aac", "h264"], ""));
}

/// Guards: mpv plays the address `make run` prints for five seconds of media, and finds nothing wrong with it.
#[test]
fn mpv_plays_the_demo() {
    let appliance = Setup::bare().arg("--demo").start();
    let url = format!("http://{}/ace/getstream?id={}", appliance.addr(), nth(0).0);
    let mut mpv = Command::new("mpv");
    mpv.args(["--no-config", "--vo=null", "--ao=null", "--length=5", "--no-terminal", "--msg-level=all=v"]);
    // Of its own accord mpv decodes a fifth of a second ahead; a busy machine may not let it run for longer than that.
    mpv.args(["--audio-buffer=2", "--log-file=/dev/stderr"]);
    let Some(said) = run(mpv.arg(&url)) else { return };
    let wrong = |line: &&str| ["][w]", "][e]", "][f]"].iter().any(|level| line.contains(level));
    assert_eq!(said.complaints.lines().filter(wrong).collect::<Vec<_>>(), Vec::<&str>::new());
    for track in ["(+) Video --vid=1", "(+) Audio --aid=1"] {
        assert!(said.complaints.contains(track), "no {track}: {}", said.complaints);
    }
}

/// Guards: VLC, which asks in a way of its own, opens the address `make run` prints and decodes picture and sound.
#[test]
fn vlc_plays_the_demo() {
    let appliance = Setup::bare().arg("--demo").start();
    let url = format!("http://{}/ace/getstream?id={}", appliance.addr(), nth(0).0);
    let mut command = Command::new("cvlc");
    command.args(["--no-color", "-vv", "--vout=dummy", "--aout=dummy", "--run-time=5", "--play-and-exit"]);
    not_as_root(command.arg(&url).arg("vlc://quit"));
    let Some(said) = run(&mut command) else { return };
    for sign in ["Received first picture", "AAC channels: 2 samplerate: 48000"] {
        assert!(said.complaints.contains(sign), "no {sign}: {}", said.complaints);
    }
}

/// A stream that is being written to a file, as a recorder does.
struct Recording {
    file: PathBuf,
    length: Arc<AtomicUsize>,
}

impl Recording {
    fn start(from: SocketAddr, path: &str) -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recording-{}.ts", from.port()));
        let mut stream = TcpStream::connect(from).expect("the appliance listens");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("the request is taken");
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut sink = std::fs::File::create(&file).expect("the directory is there");
        let length = Arc::new(AtomicUsize::new(0));
        let counted = length.clone();
        std::thread::spawn(move || {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                sink.write_all(&buffer[..count]).expect("the disk has room");
                counted.fetch_add(count, Ordering::Release);
            }
        });
        Self { file, length }
    }

    fn length(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Takes off what follows the last start of a picture, so that the end of the recording truncates none.
    fn end_before_a_picture(&self) {
        let recorded = std::fs::read(&self.file).expect("the recording is there");
        let (packets, _) = recorded.as_chunks::<188>();
        // Sync byte, start of a unit, and the clip's picture PID.
        let starts = |packet: &[u8; 188]| packet[..3] == [0x47, 0x40 | 0x01, 0x00];
        let last = packets.iter().rposition(starts).expect("there are pictures");
        std::fs::write(&self.file, &recorded[..last * 188]).expect("the disk has room");
    }

    fn wait_for(&self, bytes: usize) {
        eventually("the recording grows", || (self.length() >= bytes).then_some(()));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Guards: after a cut that loses media (the next source begins with what is live now) a decoder reports one truncated
/// packet of each elementary stream at most, and no continuity error: the gap was announced.
#[test]
fn a_recording_across_a_lossy_cut_decodes() {
    let channel = || ChannelSpec::clip(0, RATE).with_reach_back(std::time::Duration::ZERO);
    let start = || Engine::start(Options { channels: vec![channel()], ..Options::default() }).unwrap();
    let mut engines = vec![start(), start()];
    let (id, infohash) = nth(0);
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).env("JOIN_BEHIND_S", "0").start();
    let recording = Recording::start(appliance.addr(), &format!("/ace/getstream?id={id}"));
    recording.wait_for(RATE as usize * 2);
    let dying = serving(&engines, infohash);
    engines.remove(dying).kill();
    until("the other engine serves", || {
        engines[0].control().counters(infohash).is_ok_and(|it| it.readers == 1)
    });
    recording.wait_for(recording.length() + RATE as usize * 3);
    drop(appliance);
    recording.end_before_a_picture();
    let arguments = ["-hide_banner", "-nostdin", "-v", "debug", "-i"];
    let file = &recording.file;
    let Some(said) = run(Command::new("ffmpeg").args(arguments).arg(file).args(["-f", "null", "-"])) else {
        return;
    };
    let count = |what: &str| said.complaints.matches(what).count();
    assert!(count("nal_unit_type: 5(IDR)") > 2, "pictures were decoded: {}", said.complaints);
    assert_eq!(count("Continuity check failed"), 0, "{}", said.complaints);
    assert!(count("corrupt decoded frame in stream 0") <= 1, "{}", said.complaints);
    // One by the cut, one by the end of the recording, which looks at the pictures only.
    assert!(count("corrupt decoded frame in stream 1") <= 2, "{}", said.complaints);
    assert!(count("PES packet size mismatch") <= 2, "{}", said.complaints);
}
