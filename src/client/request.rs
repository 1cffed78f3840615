//! What a player asks for.

use crate::http::query;
use sluice_contract::{Alias, Hex40, Options, Refusal, RefusalCode, Selector, StreamKey, StreamName};

/// Engine parameters that change the bytes of a broadcast: part of the session's key, passed on to the engine. All
/// other parameters are ignored; what an engine does not know it ignores, too, but nobody may steer it through us.
const BYTE_CHANGING: [&str; 9] = [
    "_idx",
    "file_indexes",
    "quality",
    "stream_id",
    "preferred_audio_language",
    "transcode_audio",
    "transcode_mp3",
    "transcode_ac3",
    "next_file_indexes",
];
const OPTION_BYTES_MAX: usize = 64;

/// A checked play request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlayRequest {
    /// One broadcast.
    Stream(Alias),
    /// A channel. Whether there is one of that name is not looked at here.
    Channel {
        /// Its name and the options.
        key: StreamKey,
        /// Its first two ids are to be opened at once, should it have to be started.
        races: bool,
    },
}

impl PlayRequest {
    /// What is asked for: a parameter and its value.
    pub fn asked_as(&self) -> Box<str> {
        match self {
            Self::Stream(Alias { selector, .. }) => format!("{}={}", selector.parameter(), selector.value()),
            Self::Channel { key, .. } => format!("channel={}", key.channel().map_or("", |name| name)),
        }
        .into()
    }
}

/// Reads the query of a play request.
///
/// # Errors
/// What is wrong with it, in words that dashboards of older proxies look for where there are such.
pub fn play_request(query: Option<&str>, strict_pid: bool) -> Result<PlayRequest, Refusal> {
    let (mut id, mut infohash, mut channel, mut options) = (None, None, None, Vec::new());
    let mut races = false;
    for (name, value) in query::pairs(query.unwrap_or_default()) {
        match &*name {
            "id" | "content_id" if !value.trim().is_empty() => id = Some(value),
            "infohash" if !value.trim().is_empty() => infohash = Some(value),
            "channel" if !value.trim().is_empty() => channel = Some(value),
            "race" if !value.trim().is_empty() => races = is_race(&value)?,
            "pid" if strict_pid => {
                return Err(Refusal::new(RefusalCode::PidNotAllowed, "PID parameter is not allowed"));
            }
            name if BYTE_CHANGING.contains(&name) => options.push((name.to_owned(), option(name, &value)?)),
            _ => {}
        }
    }
    let parse = |name: &str, value: &str| {
        value
            .parse::<Hex40>()
            .map_err(|fault| Refusal::new(RefusalCode::MalformedId, format!("malformed {name}: {fault}")))
    };
    let options = Options::from_pairs(options.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let selector = match (id, infohash, channel) {
        (Some(id), None, None) => Selector::ContentId(parse("id", &id)?),
        (None, Some(infohash), None) => Selector::Infohash(parse("infohash", &infohash)?),
        (None, None, Some(name)) => {
            let key = StreamKey { name: StreamName::Channel(name.trim().into()), options };
            return Ok(PlayRequest::Channel { key, races });
        }
        (None, None, None) => {
            let detail = "one of `id` or `infohash` must have a value";
            return Err(Refusal::new(RefusalCode::MissingId, detail));
        }
        (Some(_), Some(_), None) => {
            let detail = "only one of `id` or `infohash` can have a value";
            return Err(Refusal::new(RefusalCode::AmbiguousId, detail));
        }
        (_, _, Some(_)) => {
            let detail = "only one of `id`, `infohash` or `channel` can have a value";
            return Err(Refusal::new(RefusalCode::AmbiguousId, detail));
        }
    };
    Ok(PlayRequest::Stream(Alias { selector, options }))
}

/// How many ids a start opens at once.
fn is_race(value: &str) -> Result<bool, Refusal> {
    match value.trim() {
        "1" => Ok(false),
        "2" => Ok(true),
        _ => Err(Refusal::new(RefusalCode::BadRequest, "parameter race is 1 or 2")),
    }
}

/// Option values are numbers, lists of numbers, switches and language codes: nothing that needs escaping.
fn option(name: &str, value: &str) -> Result<String, Refusal> {
    let fits = value.len() <= OPTION_BYTES_MAX
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b',' | b'-' | b'_' | b'.'));
    if fits {
        return Ok(value.to_owned());
    }
    let detail = format!("parameter {name} has a value no engine takes");
    Err(Refusal::new(RefusalCode::BadRequest, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn code(query: &str) -> &'static str {
        play_request(Some(query), false).map_or_else(|refusal| refusal.code.as_str(), |_| "ok")
    }

    #[test]
    fn selectors_are_checked() {
        assert_eq!(code(&format!("id={ID}")), "ok");
        assert_eq!(code(&format!("infohash=%20{}&pid=5&unknown=x", ID.to_uppercase())), "ok");
        assert_eq!(code(""), "missing_id");
        assert_eq!(code("id=&infohash="), "missing_id");
        assert_eq!(code(&format!("id={ID}&infohash={ID}")), "ambiguous_id");
        assert_eq!(code(&format!("id={ID}x")), "malformed_id");
        assert_eq!(code(&format!("id={ID}&_idx=1%26x")), "bad_request");
        let refusal = play_request(Some(&format!("id={}", &ID[1..])), false).unwrap_err();
        assert_eq!(refusal.detail, "malformed id: 39 characters, an id has 40");
    }

    #[test]
    fn a_pid_is_ignored_unless_it_is_forbidden() {
        let query = format!("id={ID}&pid=abc");
        assert!(play_request(Some(&query), false).is_ok());
        assert_eq!(play_request(Some(&query), true).unwrap_err().code, RefusalCode::PidNotAllowed);
    }

    #[test]
    fn only_what_changes_the_bytes_is_part_of_the_key() {
        let request =
            play_request(Some(&format!("quality=2&id={ID}&_idx=1&format=json&sid=4")), false).unwrap();
        let PlayRequest::Stream(alias) = request else { panic!("{request:?}") };
        assert_eq!(alias.options.as_str(), "_idx=1&quality=2");
    }

    /// Guards: a channel is asked for by its name alone, with its options in the key and the race beside it.
    #[test]
    fn a_channel_is_asked_for_by_its_name() {
        let request = play_request(Some("channel=%20Der%20Sport&race=2&_idx=1&id="), false).unwrap();
        let PlayRequest::Channel { key, races } = request else { panic!("{request:?}") };
        assert_eq!((key.to_string().as_str(), races), ("channel:Der Sport?_idx=1", true));
        assert_eq!((code("channel=x&race=1"), code("channel=x&race=")), ("ok", "ok"));
        assert_eq!((code("channel=x&race=3"), code("channel=%20")), ("bad_request", "missing_id"));
        assert_eq!(code(&format!("channel=x&id={ID}")), "ambiguous_id");
        assert_eq!(code(&format!("channel=x&infohash={ID}")), "ambiguous_id");
    }
}
