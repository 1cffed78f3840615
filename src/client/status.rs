//! Status answers that shards give from published snapshots.

use serde_json::{Value, json};
use sluice_contract::snapshot::{Control, Session, Shard};
use sluice_contract::{DockerState, Supply};
use std::sync::Arc;

/// Totals over all shards: what acexy's `/ace/status` says, and more.
pub fn totals(shards: &[Arc<Shard>]) -> Value {
    let sessions = shards.iter().flat_map(|shard| &shard.sessions);
    let (mut streams, mut clients, mut waiting) = (0, 0, 0);
    for session in sessions {
        streams += 1;
        clients += session.clients.len();
        waiting += session.waiting;
    }
    json!({ "status": "ok", "streams": streams, "clients": clients, "waiting": waiting })
}

/// One stream: what acexy says of it, and more.
pub fn stream_status(session: &Session) -> Value {
    let engine = session.engine.as_ref();
    json!({
        "clients": session.clients.len(),
        "waiting": session.waiting,
        "stream_id": {
            session.asked_as.parameter(): session.asked_as.value(),
            "infohash": session.infohash,
        },
        "stat_url": engine.and_then(|engine| engine.stat_url.as_deref()).unwrap_or_default(),
        "state": session.state,
        "engine": engine.map(|engine| &*engine.authority),
        "bytes_per_s": session.rate,
        "window_s": session.window_s,
        "stat": session.stat,
    })
}

/// Liveness: a shard that answers this is serving, whatever is said of engines and of the disk. What fails beside that is named,
/// and no reason to restart anything: restarting brings back neither a disk nor an engine.
pub fn health(shards: &[Arc<Shard>], control: &Control, supply: &Supply) -> Value {
    let drivers: Vec<Value> =
        shards.iter().map(|shard| json!({ "shard": shard.id, "driver": shard.driver })).collect();
    let fault = control.storage_fault.as_deref();
    let storage = fault.map(|fault| json!({ "code": "storage_failing", "detail": fault }));
    let engineless = supply.shortfalls.iter();
    let engineless =
        engineless.map(|shortfall| json!({ "code": shortfall.code, "detail": shortfall.detail }));
    let reasons: Vec<Value> = storage.into_iter().chain(engineless).collect();
    json!({
        "status": if reasons.is_empty() { "ok" } else { "degraded" },
        "reasons": reasons,
        "worker": format!("sluice:{}", std::process::id()),
        "storage": { "ok": fault.is_none(), "fault": fault },
        "shards": drivers,
        "engines": engines(supply),
    })
}

fn engines(supply: &Supply) -> Value {
    let blocked = supply.blocked.as_ref().map(|refusal| {
        json!({ "code": refusal.code, "detail": refusal.detail, "retry_after_s": refusal.retry_after_s })
    });
    let docker_error = match &supply.docker {
        DockerState::Away(text) => Some(text),
        DockerState::Unused | DockerState::Unknown | DockerState::Up => None,
    };
    let unwell: Vec<Value> = supply
        .unwell
        .iter()
        .map(|unwell| json!({ "engine": unwell.engine, "condition": unwell.condition, "reason": unwell.reason }))
        .collect();
    json!({
        "source": supply.source,
        "assumed": supply.assumed,
        "docker": supply.docker.as_str(),
        "docker_error": docker_error,
        "blocked": blocked,
        "unwell": unwell,
        "unwell_total": supply.unwell_total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_contract::Shortfall;

    /// Guards: whatever keeps the appliance from what it is for makes it degraded, with a reason for each; a limit that is
    /// reached, or an engine among others that is not well, does not.
    #[test]
    fn all_reasons_are_named() {
        let shown = |fault: Option<&str>, supply: &Supply| {
            let control = Control { storage_fault: fault.map(Into::into) };
            health(&[], &control, supply)
        };
        let well = shown(None, &Supply { unwell_total: 1, ..Supply::default() });
        assert_eq!((&well["status"], &well["reasons"]), (&json!("ok"), &json!([])));
        let short = Shortfall { code: "no_engine", detail: "no engine answers".into() };
        let supply = Supply { shortfalls: vec![short], ..Supply::default() };
        let ill = shown(Some("disk full"), &supply);
        assert_eq!(ill["status"], "degraded");
        assert_eq!((&ill["storage"]["ok"], &ill["storage"]["fault"]), (&json!(false), &json!("disk full")));
        let reasons = json!([
            { "code": "storage_failing", "detail": "disk full" },
            { "code": "no_engine", "detail": "no engine answers" },
        ]);
        assert_eq!(ill["reasons"], reasons);
        assert_eq!(shown(None, &supply)["status"], "degraded");
    }
}
