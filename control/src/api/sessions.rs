//! Sessions of the panel: whoever shows the key once gets a cookie that stands for it.
//!
//! The cookie is `HttpOnly`, so that no script reads it, and `SameSite=Strict`. It counts only together with a header of the panel's
//! own, which a page of another origin cannot send along with it: such a request is asked about first, and never allowed to carry
//! cookies. The key is kept by neither side. Sessions live in memory: they outlive a control plane that is
//! started anew, and end with the process. Ports do not tell cookies apart, so the
//! cookie's name holds a number of this appliance.

use crate::key::{self, KeyHash};
use http::{HeaderMap, HeaderName, header};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What requests of the panel carry.
const MARK: HeaderName = HeaderName::from_static("x-sluice-panel");
/// The oldest session gives way to one more than this.
const SESSIONS_MAX: usize = 256;
/// How long a session lasts that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A way in.
struct Session {
    token: KeyHash,
    used_at: Instant,
}

/// Every session there is.
pub(crate) struct Sessions {
    name: String,
    /// Least recently begun first.
    open: Mutex<VecDeque<Session>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sessions {
    /// None yet. Without random bytes from the kernel the cookie has a plain name and nobody can sign in.
    pub(crate) fn new() -> Self {
        let number =
            key::generate().map(|text| text.chars().take(8).collect()).unwrap_or_else(|_| "0".to_owned());
        Self { name: format!("sluice_{number}"), open: Mutex::default() }
    }

    /// Begins a session; what to set as the cookie, or `None` when the kernel gives no random bytes.
    pub(crate) fn begin(&self, now: Instant, is_secure: bool) -> Option<String> {
        let token = key::generate().ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| now.duration_since(session.used_at) < IDLE_MAX);
        if open.len() >= SESSIONS_MAX {
            open.pop_front();
        }
        open.push_back(Session { token: KeyHash::of(token.as_bytes()), used_at: now });
        Some(self.cookie(&token, IDLE_MAX, is_secure))
    }

    /// Ends the session of a request; what to set as the cookie so that the browser forgets it.
    pub(crate) fn end(&self, headers: &HeaderMap, is_secure: bool) -> String {
        let shown = self.shown(headers);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| !shown.is_some_and(|token| session.token.is_of(token.as_bytes())));
        self.cookie("", Duration::ZERO, is_secure)
    }

    /// Ends every session.
    pub(crate) fn end_all(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether a request comes from the panel and belongs to a session.
    pub(crate) fn holds(&self, headers: &HeaderMap, now: Instant) -> bool {
        let Some(token) = self.shown(headers).filter(|_| is_marked(headers)) else { return false };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter_mut().find(|session| session.token.is_of(token.as_bytes()));
        let Some(session) = found.filter(|session| now.duration_since(session.used_at) < IDLE_MAX) else {
            return false;
        };
        session.used_at = now;
        true
    }

    fn shown<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let lists = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut cookies =
            lists.flat_map(|list| list.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        cookies.find(|(name, _)| *name == self.name).map(|(_, token)| token)
    }

    fn cookie(&self, token: &str, age: Duration, is_secure: bool) -> String {
        let secure = if is_secure { "; Secure" } else { "" };
        format!("{}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", self.name, age.as_secs())
    }
}

/// Whether a request says that it comes from the panel.
pub(crate) fn is_marked(headers: &HeaderMap) -> bool {
    headers.contains_key(MARK)
}

/// Whether the browser reached a proxy in front over TLS. A liar only keeps the cookie from itself.
pub(crate) fn is_secure(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(cookie: &str, is_panel: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let pair = cookie.split(';').next().unwrap();
        headers.insert(header::COOKIE, HeaderValue::from_str(&format!("other=1; {pair}")).unwrap());
        if is_panel {
            headers.insert(MARK, HeaderValue::from_static("1"));
        }
        headers
    }

    /// Guards: a cookie counts only from the panel, only here, and only until it is given back.
    #[test]
    fn a_session_is_the_panels_alone() {
        let (sessions, now) = (Sessions::new(), Instant::now());
        let cookie = sessions.begin(now, true).unwrap();
        for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(sessions.holds(&headers(&cookie, true), now));
        assert!(!sessions.holds(&headers(&cookie, false), now));
        assert!(!Sessions::new().holds(&headers(&cookie, true), now));
        assert!(!sessions.holds(&headers(&format!("{}=guess", sessions.name), true), now));
        let gone = sessions.end(&headers(&cookie, true), false);
        assert!(gone.contains("Max-Age=0") && !gone.contains("Secure"), "{gone}");
        assert!(!sessions.holds(&headers(&cookie, true), now));
    }

    /// Guards: sessions are bounded in number and in time; one that is used goes on.
    #[test]
    fn sessions_are_bounded() {
        let (sessions, start) = (Sessions::new(), Instant::now());
        let first = sessions.begin(start, false).unwrap();
        assert!(sessions.holds(&headers(&first, true), start + IDLE_MAX - Duration::from_secs(1)));
        assert!(sessions.holds(&headers(&first, true), start + IDLE_MAX + Duration::from_secs(1)));
        assert!(!sessions.holds(&headers(&first, true), start + 3 * IDLE_MAX));
        for _ in 0..SESSIONS_MAX {
            sessions.begin(start + IDLE_MAX, false).unwrap();
        }
        assert_eq!(sessions.open.lock().unwrap().len(), SESSIONS_MAX);
        assert!(!sessions.holds(&headers(&first, true), start + IDLE_MAX));
    }
}
