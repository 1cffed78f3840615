//! The engine's own figures.

use super::exchange::{Endpoint, Error, json};
use serde_json::Value;
use sluice_contract::snapshot::{EngineStat, LivePos};
use std::time::Duration;

/// Figures come in milliseconds from a healthy engine; a slow answer is as good as none.
const STAT_TIMEOUT: Duration = Duration::from_secs(3);

/// Fetches the figures of a session.
///
/// # Errors
/// When the engine does not answer, or no longer knows the session. Neither ends a session that delivers bytes.
pub async fn fetch(endpoint: &Endpoint, path: &str) -> Result<EngineStat, Error> {
    let answer = json(endpoint, path, STAT_TIMEOUT).await?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(Error::Refused(super::exchange::clip(error)));
    }
    let response = answer.get("response").ok_or_else(|| Error::Json("no response".into()))?;
    Ok(read(response))
}

/// A number that grows while the engine is getting somewhere: bytes from peers, prebuffer progress, the live edge.
/// Peers alone do not count; channels with nine peers and no byte for a minute have been seen.
pub fn progress(stat: &EngineStat) -> (i64, i64, Option<i64>) {
    (stat.downloaded, stat.progress, stat.livepos.and_then(|position| position.last))
}

/// An integer, or a string that holds one.
pub(super) fn integer(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}

fn read(response: &Value) -> EngineStat {
    let number = |field: &str| integer(response.get(field)).unwrap_or(0);
    EngineStat {
        status: super::exchange::clip(response.get("status").and_then(Value::as_str).unwrap_or("")),
        peers: number("peers"),
        speed_down: number("speed_down"),
        speed_up: number("speed_up"),
        downloaded: number("downloaded"),
        uploaded: number("uploaded"),
        progress: number("progress").max(number("immediate_progress")),
        livepos: response.get("livepos").filter(|livepos| livepos.is_object()).map(|livepos| {
            let number = |field: &str| integer(livepos.get(field));
            LivePos {
                pos: number("pos"),
                last: number("last"),
                live_first: number("live_first"),
                live_last: number("live_last"),
                first_ts: number("first_ts"),
                last_ts: number("last_ts"),
                buffer_pieces: number("buffer_pieces"),
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_read_whatever_their_type() {
        let stat = read(&json!({"status": "dl", "peers": "7", "speed_down": 12.9, "downloaded": 16384,
            "livepos": {"last": "1700000000", "pos": 1699999990, "is_live": "1"}}));
        assert_eq!((stat.peers, stat.speed_down, stat.downloaded), (7, 12, 16384));
        assert_eq!(stat.livepos.unwrap().last, Some(1_700_000_000));
        assert_eq!(read(&json!({})).status, "");
        assert!(read(&json!({"livepos": "x", "peers": []})).livepos.is_none());
    }
}
