//! Who may do what: one key for everything that changes something or shows a secret.
//!
//! Only a hash of the key is kept, and hashes are compared in constant time. Two forms are accepted, and either
//! suffices: `Authorization: Bearer <key>` (the scheme in any case) and `X-API-KEY: <key>`. So does a session of the panel.

use super::error::Error;
use super::sessions::Sessions;
use crate::key::KeyHash;
use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Wrong keys are logged at most this often; a scan must not fill the log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// The one judge of keys.
#[derive(Debug)]
pub(crate) struct Access {
    /// `None`: everybody may do everything.
    key: ArcSwap<Option<KeyHash>>,
    /// The key as long as it is not changed through the API.
    first: Option<KeyHash>,
    reads_need_key: bool,
    sessions: Arc<Sessions>,
    started: Instant,
    /// Milliseconds from the start to the last wrong key that was logged.
    logged_ms: AtomicU64,
    /// Wrong keys since then.
    unlogged: AtomicU64,
}

impl Access {
    /// A judge that accepts this key, or everybody.
    pub(crate) fn new(key: Option<KeyHash>, reads_need_key: bool, sessions: Arc<Sessions>) -> Self {
        Self {
            key: ArcSwap::from_pointee(key),
            first: key,
            reads_need_key,
            sessions,
            started: Instant::now(),
            logged_ms: AtomicU64::new(0),
            unlogged: AtomicU64::new(0),
        }
    }

    /// Whether routes that only read ask for the key too.
    pub(crate) fn reads_need_key(&self) -> bool {
        self.reads_need_key
    }

    /// Whether there is a key.
    pub(crate) fn has_key(&self) -> bool {
        self.key.load().is_some()
    }

    /// From now on this is the key; `None` is the one there was before any change. Who was let in by another one is out.
    pub(crate) fn set_key(&self, changed: Option<KeyHash>) {
        let key = changed.or(self.first);
        if **self.key.load() != key {
            self.key.store(Arc::new(key));
            self.sessions.end_all();
            tracing::info!("the API key was changed");
        }
    }

    /// Sessions of the panel.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whether this is the key.
    ///
    /// # Errors
    /// [`Error::KeyWrong`] when it is another.
    pub(crate) fn judge_key(&self, shown: &[u8]) -> Result<(), Error> {
        if self.key.load().as_ref().as_ref().is_none_or(|key| key.is_of(shown)) {
            return Ok(());
        }
        self.log_wrong();
        Err(Error::KeyWrong)
    }

    /// Whether these headers show the key, or belong to a session of the panel.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] when they show none, [`Error::KeyWrong`] when they show others.
    pub(crate) fn judge(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(key) = **self.key.load() else { return Ok(()) };
        let mut is_shown = false;
        for shown in shown(headers) {
            if key.is_of(shown) {
                return Ok(());
            }
            is_shown = true;
        }
        if !is_shown {
            let is_session = self.sessions.holds(headers, Instant::now());
            return if is_session { Ok(()) } else { Err(Error::KeyMissing) };
        }
        self.log_wrong();
        Err(Error::KeyWrong)
    }

    fn log_wrong(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.logged_ms.load(Ordering::Relaxed);
        let is_due = last == 0 || now.saturating_sub(last) >= LOG_INTERVAL.as_millis() as u64;
        let is_first = is_due
            && self.logged_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first {
            let others = self.unlogged.swap(0, Ordering::Relaxed);
            tracing::warn!(others, "a request showed a wrong API key");
        } else {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Every key the headers show, empty ones too.
fn shown(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let value = value.as_bytes().trim_ascii();
        let (scheme, key) = value.split_at_checked("bearer".len())?;
        let is_bearer =
            scheme.eq_ignore_ascii_case(b"bearer") && key.first().is_none_or(|byte| *byte == b' ');
        is_bearer.then(|| key.trim_ascii())
    });
    let plain = headers.get_all("x-api-key").iter().map(|value| value.as_bytes().trim_ascii());
    bearer.chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn judge(headers: &[(&str, &str)]) -> Result<(), Error> {
        let access = Access::new(Some(KeyHash::of(b"secret")), false, Arc::new(Sessions::new()));
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        access.judge(&headers.collect())
    }

    /// Guards: both forms are accepted, either suffices, and what is missing is told apart from what is wrong.
    #[test]
    fn a_key_is_accepted_in_both_forms() {
        for accepted in [
            &[("authorization", "Bearer secret")][..],
            &[("authorization", "bEARER  secret ")],
            &[("x-api-key", "secret")],
            &[("authorization", "Basic c2VjcmV0"), ("x-api-key", "secret")],
            &[("authorization", "Bearer wrong"), ("x-api-key", "secret")],
        ] {
            assert_eq!(judge(accepted), Ok(()), "{accepted:?}");
        }
        for missing in [&[][..], &[("authorization", "Basic c2VjcmV0")], &[("authorization", "Bearersecret")]]
        {
            assert_eq!(judge(missing), Err(Error::KeyMissing), "{missing:?}");
        }
        for wrong in ["Bearer wrong", "Bearer ", "Bearer secret2", "Bearer secre", "Bearer SECRET"]
            .map(|w| ("authorization", w))
        {
            assert_eq!(judge(&[wrong]), Err(Error::KeyWrong), "{wrong:?}");
        }
        assert_eq!(judge(&[("x-api-key", "")]), Err(Error::KeyWrong));
    }

    /// Guards: without a key everybody may do everything.
    #[test]
    fn open_means_open() {
        let access = Access::new(None, true, Arc::new(Sessions::new()));
        assert_eq!(access.judge(&HeaderMap::new()), Ok(()));
    }

    /// Guards: a new key holds at once and the old one no longer does; taking the change back brings the old one back.
    #[test]
    fn a_key_is_changed_while_it_is_asked_for() {
        let access = Access::new(Some(KeyHash::of(b"first")), false, Arc::new(Sessions::new()));
        access.set_key(Some(KeyHash::of(b"second")));
        assert_eq!((access.judge_key(b"second"), access.judge_key(b"first")), (Ok(()), Err(Error::KeyWrong)));
        access.set_key(None);
        assert_eq!((access.judge_key(b"second"), access.judge_key(b"first")), (Err(Error::KeyWrong), Ok(())));
    }
}
