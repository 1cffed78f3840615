//! One look-up: ask an engine what a number names, first as a content id, then as an infohash; ask another engine when
//! the first fails, or beside it when it is silent.

use super::calls::{Calls, Claim};
use crate::engines::Standing;
use crate::fetch;
use serde_json::Value;
use sluice_contract::{Hex40, Selector};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How a look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The number names this broadcast.
    Found(Hex40),
    /// An engine knows the number neither as a content id nor as an infohash.
    Unknown,
    /// No engine could tell.
    Failed,
}

/// An engine that has not answered in this part of the time allowed is doubled by another: a look-up in a cold swarm
/// takes seconds, and an engine that hangs takes for ever.
const HEDGE_AFTER: u32 = 5;
/// Engines asked for one number at once.
const ASKED_MAX: usize = 2;

/// Looks a number up within `timeout`. The first definite answer counts.
///
/// Cancel safe: what was asked is given up, and its places are freed.
pub(crate) async fn look_up(
    number: Hex40,
    mut engines: watch::Receiver<Arc<Standing>>,
    calls: Arc<Calls>,
    timeout: Duration,
) -> Outcome {
    let deadline = Instant::now() + timeout;
    let search = async {
        let (mut tried, mut silent) = (Vec::new(), Vec::new());
        let mut asked = JoinSet::new();
        let mut next_at = Instant::now();
        let mut has_more = true;
        while has_more || !asked.is_empty() {
            let next = async {
                tokio::time::sleep_until(next_at).await;
                calls.claim(&mut engines, &tried).await
            };
            tokio::select! {
                Some(ended) = asked.join_next() => {
                    let Ok((engine, answer)) = ended else { continue };
                    silent.retain(|other| *other != engine);
                    match answer {
                        Ok(outcome) => {
                            silent.iter().for_each(|engine| calls.failed(engine));
                            return outcome;
                        }
                        Err(fault) => tracing::debug!(%engine, %number, %fault, "an engine could not resolve"),
                    }
                    calls.failed(&engine);
                    next_at = Instant::now();
                }
                claim = next, if has_more && asked.len() < ASKED_MAX => match claim {
                    Some(claim) => {
                        tried.push(claim.engine.clone());
                        silent.push(claim.engine.clone());
                        next_at = Instant::now() + timeout / HEDGE_AFTER;
                        asked.spawn(async move {
                            let answer = ask_both(number, &claim, deadline).await;
                            (claim.engine.clone(), answer)
                        });
                    }
                    None => has_more = false,
                },
            }
        }
        Outcome::Failed
    };
    tokio::time::timeout_at(deadline, search).await.unwrap_or(Outcome::Failed)
}

/// Why an engine gave no definite answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    #[error("unexpected answer: {0}")]
    Answer(String),
}

async fn ask_both(number: Hex40, claim: &Claim, deadline: Instant) -> Result<Outcome, Fault> {
    let selector = Selector::ContentId(number);
    for selector in [selector, selector.other()] {
        if let Some(infohash) = ask(selector, claim, deadline).await? {
            return Ok(Outcome::Found(infohash));
        }
    }
    Ok(Outcome::Unknown)
}

async fn ask(selector: Selector, claim: &Claim, deadline: Instant) -> Result<Option<Hex40>, Fault> {
    let timeout = deadline.saturating_duration_since(Instant::now());
    let target = format!(
        "/server/api?api_version=3&method=get_media_files&{}={}",
        selector.parameter(),
        selector.value()
    );
    let call = fetch::Call { address: claim.address, authority: &claim.authority, target: &target, timeout };
    judge(&fetch::json(call).await?)
}

/// Reads the answer: an infohash, a definite "unknown", or neither.
fn judge(answer: &Value) -> Result<Option<Hex40>, Fault> {
    if let Some(infohash) = answer.pointer("/result/infohash").and_then(Value::as_str) {
        let infohash =
            infohash.parse().map_err(|fault| Fault::Answer(format!("infohash {infohash:?}: {fault}")))?;
        return Ok(Some(infohash));
    }
    let error = answer.get("error").map(|error| error.get("message").unwrap_or(error));
    // Some texts arrive decorated as the representation of a Python object, hence a search instead of a comparison.
    let text = error.and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    if ["cannot get transport file", "failed to load content"].iter().any(|unknown| text.contains(unknown)) {
        return Ok(None);
    }
    const SHOWN_MAX: usize = 200;
    Err(Fault::Answer(answer.to_string().chars().take(SHOWN_MAX).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_judged_in_every_form_engines_give_them() {
        let infohash = "0a48ab1234567890abcdefabcdef012345678900";
        let found = judge(&json!({"result": {"infohash": infohash.to_uppercase()}, "error": null}));
        assert_eq!(found.unwrap().unwrap().to_string(), infohash);
        for unknown in [
            json!({"error": {"message": "cannot get transport file", "code": 0}}),
            json!({"result": null, "error": "<[Failed to load content]>"}),
        ] {
            assert_eq!(judge(&unknown).unwrap(), None);
        }
        for neither in [
            json!({"error": {"message": "access denied"}}),
            json!({"result": {"infohash": "short"}}),
            json!({"result": null}),
            json!([1]),
            Value::Null,
        ] {
            assert!(judge(&neither).is_err(), "{neither} was taken for an answer");
        }
    }
}
