//! The caches engines have on disk, all together. Where engines are not kept in Docker there are none.

use super::Sources;
use super::input::Keyed;
use super::time::rfc3339;
use crate::engines::caches::{Cache, CacheStanding};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// All caches on disk.
#[derive(Serialize, ToSchema)]
pub(crate) struct CacheTotals {
    /// Of those that were measured.
    total_bytes: u64,
    /// Engines that have one.
    volume_count: usize,
    /// When one was measured last.
    last_updated: Option<String>,
}

/// What is done about them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Emptying {
    /// Always `success`; what could not be emptied stays and is tried again.
    status: &'static str,
    message: String,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(engine_cache_stats)).routes(routes!(engine_cache_purge))
}

/// What engines' caches take on disk
///
/// As measured once a minute; `GET /engines` has each.
#[utoipa::path(get, path = "/engine-cache/stats", tag = "engines", responses((status = 200, body = CacheTotals)))]
async fn engine_cache_stats(State(sources): State<Sources>, Keyed(()): Keyed<()>) -> Json<CacheTotals> {
    let fleet = sources.engines.fleet();
    let members = fleet.iter().flat_map(|fleet| &fleet.members);
    Json(CacheTotals::of(members.filter_map(|member| member.cache.as_ref())))
}

/// Empty the caches of idle engines
///
/// Answers when it is decided. Engines that play, or are about to, are left alone; theirs is emptied after their last stream.
#[utoipa::path(post, path = "/engine-cache/purge", tag = "engines", responses((status = 200, body = Emptying)))]
async fn engine_cache_purge(State(sources): State<Sources>, Keyed(()): Keyed<()>) -> Json<Emptying> {
    // Where no engine is kept there is nothing to empty.
    let (idle, used) = sources.engines.empty_caches().await.unwrap_or_default();
    let message =
        format!("The caches of {idle} idle engines are being emptied; {used} in use are left alone");
    Json(Emptying { status: "success", message })
}

impl CacheTotals {
    fn of<'a>(caches: impl Iterator<Item = &'a CacheStanding>) -> Self {
        let mut totals = Self { total_bytes: 0, volume_count: 0, last_updated: None };
        let mut newest = None;
        for cache in caches.filter(|cache| cache.cache != Cache::Memory) {
            totals.total_bytes = totals.total_bytes.saturating_add(cache.bytes.unwrap_or_default());
            totals.volume_count += 1;
            newest = newest.max(cache.measured_at);
        }
        totals.last_updated = newest.map(rfc3339);
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// Guards the sum: caches on disk alone, those not measured yet counted without a size, dated by the newest measurement.
    #[test]
    fn caches_on_disk_are_summed() {
        let of = |cache: Cache, bytes: Option<u64>, at: u64| CacheStanding {
            cache,
            bytes,
            measured_at: bytes.map(|_| SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
            purged_at: None,
            freed_bytes: 0,
        };
        let disk = || Cache::Folder("/cache".into());
        let all = [
            of(disk(), Some(5), 60),
            of(disk(), Some(7), 30),
            of(disk(), None, 0),
            of(Cache::Memory, Some(9), 90),
        ];
        let totals = CacheTotals::of(all.iter());
        assert_eq!((totals.total_bytes, totals.volume_count), (12, 3));
        assert!(totals.last_updated.is_some_and(|at| at.starts_with("1970-01-01T00:01:00")));
        assert!(CacheTotals::of([].iter()).last_updated.is_none());
    }
}
