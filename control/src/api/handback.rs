//! Which requests belong to the data plane, and how a request that hyper has read is written down again for a shard.

use http::{HeaderMap, Method, Request, Uri, Version};

/// Whether a shard serves this path. The same predicate as the shards', or connections would travel in circles; a
/// connection's first request is served here whatever its path, so that they cannot.
pub(crate) fn belongs_to_shards(uri: &Uri) -> bool {
    let path = uri.path();
    path.starts_with("/ace/") || path == "/health" || path == "/proxy/health"
}

/// Writes a request head without body as bytes. Names come out in lower case, the target in origin form.
pub(crate) fn write_head<B>(request: &Request<B>) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let version = if request.version() == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut head = Vec::with_capacity(head_length(request.method(), target, request.headers()));
    for part in [request.method().as_str(), " ", target, " ", version, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn head_length(method: &Method, target: &str, headers: &HeaderMap) -> usize {
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    method.as_str().len() + target.len() + fields + "  HTTP/1.1\r\n\r\n".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_down_with_everything_it_had() {
        let request = Request::get("http://proxy.example/ace/getstream?id=1&x=%20")
            .version(Version::HTTP_10)
            .header("Range", "bytes=0-")
            .header("X-Forwarded-For", "10.0.0.1")
            .header("X-Forwarded-For", "10.0.0.2")
            .header("X-Raw", http::HeaderValue::from_bytes(b"\xff\xfe").unwrap())
            .body(())
            .unwrap();
        let expected =
            b"GET /ace/getstream?id=1&x=%20 HTTP/1.0\r\nrange: bytes=0-\r\nx-forwarded-for: 10.0.0.1\r\n\
            x-forwarded-for: 10.0.0.2\r\nx-raw: \xff\xfe\r\n\r\n";
        assert_eq!(write_head(&request), expected);
    }

    #[test]
    fn only_the_data_planes_paths_are_handed_back() {
        let belongs = |path: &str| belongs_to_shards(&path.parse().unwrap());
        for path in ["/ace/getstream?id=1", "/ace/", "/health", "/health?x", "/proxy/health"] {
            assert!(belongs(path), "{path}");
        }
        for path in ["/", "/ace", "/acexy/status", "/health/status", "/proxy/status", "/ACE/getstream"] {
            assert!(!belongs(path), "{path}");
        }
    }
}
