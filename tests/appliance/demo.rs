//! `sluice --demo` serves channels that real programs decode.

use crate::common::Setup;
use sluice_bench::channel::nth;
use std::process::Command;

/// Runs a program of the ffmpeg family; `None`, with the reason printed, where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<(String, String)> {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: {program} cannot be started ({error})");
            return None;
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program}: {complained}");
    Some((said, complained))
}

/// Guards: what `make run` shows: a real decoder finds H.264 and AAC, and decodes seconds of it from the first byte, as
/// the first player and as one that joins, without a word of complaint.
#[test]
fn ffmpeg_decodes_the_demo_from_its_first_byte() {
    let appliance = Setup::bare().arg("--demo").start();
    let url = format!("http://{}/ace/getstream?id={}", appliance.addr(), nth(0).0);
    let decode = ["-hide_banner", "-nostdin", "-v", "warning", "-i", &url, "-t", "5", "-f", "null", "-"];
    for attempt in ["first", "joining"] {
        let Some((_, complained)) = run("ffmpeg", &decode) else { return };
        assert_eq!(complained, "", "{attempt}");
    }
    let probe = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", &url];
    let Some((said, complained)) = run("ffprobe", &probe) else { return };
    let mut codecs: Vec<&str> = said.split_whitespace().collect();
    codecs.sort_unstable();
    codecs.dedup();
    assert_eq!((codecs, complained.as_str()), (vec!["aac", "h264"], ""));
}
