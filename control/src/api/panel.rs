//! The panel: a built page with its assets inside the binary, which reads the REST API and nothing else.
//!
//! Every path below `/panel/` that is no asset is a view of the one page. The page's addresses are relative to its `<base>`, and
//! that is written for the depth of the path asked for, so that the panel works below any path a proxy puts in front of it. Assets
//! lie here as they are sent: plain, gzip and Brotli; nothing is compressed while it runs.
//!
//! What it does not do: build the panel. A binary made without it shows a page that says how.

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

#[derive(rust_embed::Embed)]
#[folder = "../dashboard/dist/panel"]
#[allow_missing = true]
struct Built;

const ICON: &[u8] = include_bytes!("../../../dashboard/public/favicon.svg");
/// Shown by a binary that was made without the panel.
const UNBUILT: &str = include_str!("../../../dashboard/unbuilt.html");
/// The page runs only what came with it and talks only to where it came from; players make media in the page (`blob:`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' blob:; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'self'";
/// What the page's base is written as in the build.
const BASE: &str = "<base href=\"./\" />";
/// Paths deeper than this are no view of the page.
const DEPTH_MAX: usize = 8;
/// Assets have a hash in their name: another content has another address.
const ASSETS: &str = "assets/";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

static PANEL: LazyLock<Panel> = LazyLock::new(|| Panel::new(embedded()));

/// One file in the forms it can be sent in.
struct Asset {
    content_type: HeaderValue,
    etag: String,
    plain: Bytes,
    gzip: Option<Bytes>,
    brotli: Option<Bytes>,
}

/// What is embedded, ready to be sent.
struct Panel {
    assets: HashMap<String, Asset>,
    /// The page and its hash; `None` in a binary made without it.
    page: Option<(String, String)>,
}

fn embedded() -> impl Iterator<Item = (String, Bytes, [u8; 32])> {
    Built::iter().filter_map(|name| {
        let file = Built::get(&name)?;
        let bytes = match file.data {
            std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            std::borrow::Cow::Owned(bytes) => bytes.into(),
        };
        Some((name.into_owned(), bytes, file.metadata.sha256_hash()))
    })
}

impl Panel {
    fn new(files: impl Iterator<Item = (String, Bytes, [u8; 32])>) -> Self {
        let files: HashMap<String, (Bytes, [u8; 32])> =
            files.map(|(name, bytes, hash)| (name, (bytes, hash))).collect();
        let page = files
            .get("index.html")
            .map(|(bytes, hash)| (String::from_utf8_lossy(bytes).into_owned(), tag(hash)));
        let form = |name: &str, suffix: &str| Some(files.get(&format!("{name}{suffix}"))?.0.clone());
        let is_plain = |name: &str| !name.ends_with(".gz") && !name.ends_with(".br") && name != "index.html";
        let assets = files.iter().filter(|(name, _)| is_plain(name)).map(|(name, (bytes, hash))| {
            let asset = Asset {
                content_type: content_type(name),
                etag: tag(hash),
                plain: bytes.clone(),
                gzip: form(name, ".gz"),
                brotli: form(name, ".br"),
            };
            (name.clone(), asset)
        });
        Self { assets: assets.collect(), page }
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> Response {
        if let Some(asset) = self.assets.get(path) {
            return asset.answer(path.starts_with(ASSETS), headers);
        }
        let depth = path.matches('/').count();
        // An asset of another build must not be answered with a page.
        if path.starts_with(ASSETS) || depth > DEPTH_MAX {
            return super::error::not_found();
        }
        let Some((page, tag)) = &self.page else { return unbuilt() };
        let etag = format!("\"{tag}-{depth}\"");
        let mut answer = if is_known(&etag, headers) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let above = if depth == 0 { "./".to_owned() } else { "../".repeat(depth) };
            let base = format!("<base href=\"{above}\" />");
            Response::new(Body::from(page.replacen(BASE, &base, 1)))
        };
        let fields = answer.headers_mut();
        fields.insert(header::ETAG, value(&etag));
        fields.insert(header::CACHE_CONTROL, ASK_AGAIN);
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        guarded(answer)
    }
}

impl Asset {
    fn answer(&self, is_hashed: bool, headers: &HeaderMap) -> Response {
        let takes = |coding: &str| accepts(headers, coding);
        let (body, coding) = match (&self.brotli, &self.gzip) {
            (Some(body), _) if takes("br") => (body, Some("br")),
            (_, Some(body)) if takes("gzip") => (body, Some("gzip")),
            _ => (&self.plain, None),
        };
        let etag =
            format!("\"{}{}\"", self.etag, coding.map_or(String::new(), |coding| format!("-{coding}")));
        let caching = if is_hashed { FOR_EVER } else { ASK_AGAIN };
        let mut answer = if is_known(&etag, headers) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Response::new(Body::from(body.clone()))
        };
        let fields = answer.headers_mut();
        fields.insert(header::CONTENT_TYPE, self.content_type.clone());
        fields.insert(header::CACHE_CONTROL, caching);
        fields.insert(header::ETAG, value(&etag));
        fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(coding) = coding {
            fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        guarded(answer)
    }
}

/// Whether the reader has what carries this tag already.
fn is_known(etag: &str, headers: &HeaderMap) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether a coding is among the accepted ones and not refused with `q=0`.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        is_named && weight != Some(0.0)
    })
}

fn content_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("html") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    })
}

fn tag(hash: &[u8; 32]) -> String {
    hash[..12].iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Tags are hexadecimal digits and names of codings.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("\"\""))
}

fn guarded(mut answer: Response) -> Response {
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

fn unbuilt() -> Response {
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    guarded((fields, UNBUILT).into_response())
}

/// `/` and `/panel`: to the panel, wherever a proxy has put it.
pub(crate) async fn home() -> Response {
    Redirect::temporary("panel/").into_response()
}

/// The page.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    PANEL.answer("", &headers)
}

/// An asset, or a view of the page.
pub(crate) async fn below(Path(path): Path<Arc<str>>, headers: HeaderMap) -> Response {
    PANEL.answer(&path, &headers)
}

/// The icon, for whoever asks for it at the root.
pub(crate) async fn icon() -> Response {
    let fields = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "max-age=86400")];
    (fields, ICON).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<head><base href=\"./\" /><script src=\"./assets/a-1.js\"></script></head>";

    fn panel() -> Panel {
        let file =
            |name: &str, text: &'static str| (name.to_owned(), Bytes::from_static(text.as_bytes()), [7; 32]);
        let files = [
            file("index.html", PAGE),
            file("assets/a-1.js", "plain"),
            file("assets/a-1.js.gz", "gzip"),
            file("assets/a-1.js.br", "brotli"),
            file("favicon.svg", "icon"),
        ];
        Panel::new(files.into_iter())
    }

    fn ask(
        panel: &Panel,
        path: &str,
        fields: &[(header::HeaderName, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let fields = fields.iter().map(|(name, text)| (name.clone(), HeaderValue::from_str(text).unwrap()));
        let answer = panel.answer(path, &fields.collect());
        let (parts, body) = answer.into_parts();
        let body = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(axum::body::to_bytes(body, usize::MAX))
            .unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Guards: any view can be loaded by its own address, below any path in front, because its base leads back to the panel.
    #[test]
    fn the_page_finds_its_assets_from_any_view() {
        let panel = panel();
        for (path, base) in [("", "./"), ("streams", "./"), ("streams/abc", "../"), ("a/b/c", "../../")] {
            let (status, fields, body) = ask(&panel, path, &[]);
            assert_eq!(status, StatusCode::OK, "{path}");
            assert!(body.contains(&format!("<base href=\"{base}\" />")), "{path}: {body}");
            assert_eq!(fields[header::CACHE_CONTROL], "no-cache");
            assert_eq!(fields[header::CONTENT_SECURITY_POLICY], POLICY);
        }
        assert_eq!(ask(&panel, "assets/a-2.js", &[]).0, StatusCode::NOT_FOUND);
        assert_eq!(ask(&panel, &"a/".repeat(9), &[]).0, StatusCode::NOT_FOUND);
    }

    /// Guards: an asset is sent in the smallest form its reader takes, and never in one it does not.
    #[test]
    fn assets_are_sent_as_their_reader_takes_them() {
        let panel = panel();
        for (accepted, coding, expected) in [
            ("gzip, deflate, br", Some("br"), "brotli"),
            ("gzip", Some("gzip"), "gzip"),
            ("br;q=0, gzip;q=0.5", Some("gzip"), "gzip"),
            ("identity", None, "plain"),
        ] {
            let (_, fields, body) = ask(&panel, "assets/a-1.js", &[(header::ACCEPT_ENCODING, accepted)]);
            assert_eq!(body, expected, "{accepted}");
            assert_eq!(fields.get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap()), coding);
            assert_eq!(fields[header::VARY], "Accept-Encoding");
            assert!(fields[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        }
        assert_eq!(ask(&panel, "favicon.svg", &[]).1[header::CONTENT_TYPE], "image/svg+xml");
    }

    /// Guards: what a browser has already is not sent again, and what it has of another view is.
    #[test]
    fn what_is_known_is_not_sent_again() {
        let panel = panel();
        for path in ["", "streams/abc", "assets/a-1.js"] {
            let (_, fields, _) = ask(&panel, path, &[]);
            let etag = fields[header::ETAG].to_str().unwrap();
            let (status, again, body) =
                ask(&panel, path, &[(header::IF_NONE_MATCH, &format!("\"x\", W/{etag}"))]);
            assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path}");
            assert_eq!(again[header::ETAG], fields[header::ETAG]);
        }
        let (_, fields, _) = ask(&panel, "", &[]);
        let etag = fields[header::ETAG].to_str().unwrap();
        assert_eq!(ask(&panel, "streams/abc", &[(header::IF_NONE_MATCH, etag)]).0, StatusCode::OK);
    }

    /// Guards: a binary made without the panel says so instead of showing nothing.
    #[test]
    fn a_missing_panel_says_how_to_build_it() {
        let (status, _, body) = ask(&Panel::new(std::iter::empty()), "streams", &[]);
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("npm run build"), "{body}");
    }
}
