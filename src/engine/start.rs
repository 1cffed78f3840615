//! Starting and stopping an engine session.

use super::body::Body;
use super::exchange::{Endpoint, Error, clip, get, json, until, within};
use crate::http::url::{is_foreign, path_and_query};
use futures_util::future::{Either, select};
use monoio::time::sleep;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_contract::{Hex40, Options, Selector};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A health probe answers in milliseconds unless the engine hangs.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// A stop may hang on a sick engine; nothing waits longer for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
const REDIRECTS_MAX: usize = 3;
/// An engine asked too early answers 500 instead of waiting.
const RETRY_EARLY: Duration = Duration::from_secs(1);

/// How the media of a session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// As one body.
    Progressive,
    /// As a playlist: all there is of encrypted content.
    Playlist,
}

/// What an engine answered to a start. Links are reduced to path and query: their authority is only what the engine
/// believes of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Where the media is.
    pub playback: String,
    /// Where the figures are.
    pub stat: Option<Arc<str>>,
    /// Where commands go.
    pub command: Option<Arc<str>>,
    /// Canonical identity of what was opened.
    pub infohash: Option<Hex40>,
    /// The engine's own session id.
    pub playback_session_id: Option<Arc<str>>,
    /// 1 live, 0 not, −1 unknown.
    pub is_live: i8,
    /// Encrypted content cannot be played as TS.
    pub is_encrypted: bool,
}

impl Started {
    /// Whether the media is a playlist of segments.
    pub fn is_playlist(&self) -> bool {
        self.playback.split('?').next().is_some_and(|path| path.ends_with(".m3u8"))
    }
}

/// Whether the engine's HTTP API answers with JSON.
///
/// # Errors
/// Why it does not.
pub async fn probe(endpoint: &Endpoint) -> Result<(), Error> {
    json(endpoint, "/webui/api/service?method=get_version&format=json", PROBE_TIMEOUT).await.map(drop)
}

/// Opens an engine session, without media yet.
///
/// Waits up to `patience` for the answer, as long as the engine gives any sign of life at least every `no_response`:
/// looking a channel up takes many seconds on a healthy engine, a hung one takes the connection and never answers
/// anything.
///
/// # Errors
/// [`Error::Unknown`] when the engine does not know the selector, [`Error::Hung`] without a sign of life.
pub async fn start(
    endpoint: &Endpoint,
    (selector, form): (Selector, Form),
    options: &Options,
    pid: &str,
    patience: Duration,
    no_response: Duration,
) -> Result<Started, Error> {
    let route = match form {
        Form::Progressive => "getstream",
        Form::Playlist => "manifest.m3u8",
    };
    let mut target =
        format!("/ace/{route}?format=json&pid={pid}&{}={}", selector.parameter(), selector.value());
    if !options.is_empty() {
        target.push('&');
        target.push_str(options.as_str());
    }
    let answer = pin!(json(endpoint, &target, patience));
    let watch = pin!(no_sign_of_life(endpoint, no_response));
    let answer = match select(answer, watch).await {
        Either::Left((answer, _)) => answer?,
        Either::Right(((), _)) => return Err(Error::Hung(no_response)),
    };
    read_started(&answer)
}

/// Ends once the engine has answered no probe for `no_response`.
async fn no_sign_of_life(endpoint: &Endpoint, no_response: Duration) {
    let mut last = Instant::now();
    loop {
        sleep((no_response / 3).max(Duration::from_millis(50))).await;
        match probe(endpoint).await {
            Ok(()) => last = Instant::now(),
            Err(_) if last.elapsed() >= no_response => return,
            Err(_) => {}
        }
    }
}

fn read_started(answer: &Value) -> Result<Started, Error> {
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        let text = clip(&error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        // Some engines decorate their messages, so only the substance is compared.
        let unknown = text.to_ascii_lowercase().contains("failed to load content");
        return Err(if unknown { Error::Unknown(text) } else { Error::Refused(text) });
    }
    let response = answer.get("response").filter(|response| response.is_object());
    let response = response.ok_or_else(|| Error::Json("neither response nor error".into()))?;
    let text = |field: &str| response.get(field).and_then(Value::as_str);
    let path = |field: &str| text(field).map(path_and_query).transpose().map(|url| url.map(|(_, path)| path));
    let playback = path("playback_url")?.ok_or_else(|| Error::Json("no playback_url".into()))?;
    Ok(Started {
        playback,
        stat: path("stat_url")?.map(Arc::from),
        command: path("command_url")?.map(Arc::from),
        infohash: text("infohash").and_then(|infohash| infohash.parse().ok()),
        playback_session_id: text("playback_session_id").map(|id| Arc::from(clip(id))),
        is_live: super::stat::integer(response.get("is_live")).map_or(-1, |live| live.clamp(-1, 1) as i8),
        is_encrypted: super::stat::integer(response.get("is_encrypted")).is_some_and(|value| value > 0),
    })
}

/// Fetches what a playback link leads to; what was asked too early is asked again.
pub(super) async fn open_playback(endpoint: &Endpoint, link: &str, deadline: Instant) -> Result<Body, Error> {
    loop {
        match within(until(deadline), fetch(endpoint, link)).await {
            Err(Error::Refused(text))
                if text.to_ascii_lowercase().contains("download not found")
                    && Instant::now() + RETRY_EARLY < deadline =>
            {
                sleep(RETRY_EARLY).await;
            }
            outcome => return outcome,
        }
    }
}

/// Fetches what a link leads to, by redirects on the same engine.
pub(super) async fn fetch(endpoint: &Endpoint, link: &str) -> Result<Body, Error> {
    let mut target = link.to_owned();
    let mut redirects = 0;
    loop {
        let exchange = get(endpoint, &target).await?;
        let status = exchange.head.status;
        match status {
            200 | 206 => return Ok(Body::new(exchange)),
            301 | 302 | 303 | 307 | 308 => {
                redirects += 1;
                if redirects > REDIRECTS_MAX {
                    return Err(Error::Redirect("in a loop"));
                }
                let location = exchange.head.location().ok_or(Error::Redirect("without a location"))?;
                let (authority, path) = path_and_query(location)?;
                if authority.is_some_and(|authority| is_foreign(&authority, &endpoint.authority)) {
                    return Err(Error::Redirect("to a foreign host"));
                }
                target = path;
            }
            500 => return Err(Error::Refused(exchange.excerpt().await)),
            _ => return Err(Error::Status { status, text: exchange.excerpt().await }),
        }
    }
}

/// Stops an engine session. A session the engine no longer knows is stopped too.
///
/// # Errors
/// When the engine did not confirm; there is nothing more to be done about it, the session ends by its own idle rule.
pub async fn stop(endpoint: &Endpoint, started: &Started) -> Result<(), Error> {
    let Some(command) = &started.command else { return Ok(()) };
    let separator = if command.contains('?') { '&' } else { '?' };
    let answer = json(endpoint, &format!("{command}{separator}method=stop"), STOP_TIMEOUT).await?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) if !error.contains("unknown playback session id") => Err(Error::Refused(clip(error))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_start_answer_loses_the_engines_own_idea_of_its_host() {
        let infohash = "ab".repeat(20);
        let started = read_started(&json!({"response": {
            "playback_url": "http://127.0.0.1:6878/ace/r/ih/key",
            "stat_url": "http://container/ace/stat/ih/key",
            "command_url": "/ace/cmd/ih/key?x=1",
            "infohash": infohash, "playback_session_id": "s", "is_live": "1", "is_encrypted": 0,
        }, "error": null}))
        .unwrap();
        assert_eq!(started.playback, "/ace/r/ih/key");
        assert_eq!(started.stat.as_deref(), Some("/ace/stat/ih/key"));
        assert_eq!(started.command.as_deref(), Some("/ace/cmd/ih/key?x=1"));
        assert_eq!(started.infohash.map(|hash| hash.to_string()), Some(infohash));
        assert_eq!((started.is_live, started.is_encrypted), (1, false));
        assert!(!started.is_playlist());
        let playback = "/ace/m/ih/key.m3u8?x=/ace/r/".to_owned();
        assert!(Started { playback, ..started }.is_playlist());
    }

    #[test]
    fn an_error_with_status_200_is_an_error() {
        let unknown = read_started(&json!({"response": null, "error": "<[Failed to load content]>"}));
        assert!(matches!(unknown, Err(Error::Unknown(_))));
        let refused = read_started(&json!({"response": null, "error": {"code": 3}}));
        assert!(matches!(refused, Err(Error::Refused(_))));
        for odd in [json!([]), json!({}), json!({"response": {}}), json!({"response": "x", "error": null})] {
            assert!(matches!(read_started(&odd), Err(Error::Json(_))), "{odd}");
        }
        let foreign = json!({"response": {"playback_url": "ftp://h/x"}});
        assert!(matches!(read_started(&foreign), Err(Error::Link(_))));
    }
}
