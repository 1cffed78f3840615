//! `/api/v1/*` is another name of every route.

use http::Uri;
use http::uri::PathAndQuery;

const PREFIX: &str = "/api/v1";

/// The address without the prefix; `None` when it has none.
pub(crate) fn without_prefix(uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(PREFIX)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = if rest.is_empty() { "/" } else { rest };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{path}{query}").parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: the prefix is taken off whole, once, with everything behind it kept.
    #[test]
    fn the_prefix_is_taken_off_once() {
        let stripped = |uri: &str| without_prefix(&uri.parse().unwrap()).map(|uri| uri.to_string());
        for (uri, expected) in [
            ("/api/v1/engines?a=%7C&b", "/engines?a=%7C&b"),
            ("/api/v1", "/"),
            ("/api/v1/", "/"),
            ("/api/v1/streams/a%2Fb|c", "/streams/a%2Fb|c"),
            ("/api/v1/api/v1/engines", "/api/v1/engines"),
            ("/api/v1//x", "//x"),
            ("http://sluice/api/v1/version", "http://sluice/version"),
        ] {
            assert_eq!(stripped(uri).as_deref(), Some(expected), "{uri}");
        }
        for uri in ["/api/v10/engines", "/api/v2/engines", "/engines", "/api", "*"] {
            assert_eq!(stripped(uri), None, "{uri}");
        }
    }
}
