//! `CHANNELS_FILE`: names for broadcasts, each with the ids it can be had under, best first.
//!
//! TOML, or JSON when the file's name ends in `.json`. Either way it is one table from names to lists of ids; an id is a
//! content id, or an infohash when `infohash:` stands before it:
//!
//! ```toml
//! news = ["0123456789abcdef0123456789abcdef01234567", "infohash:89abcdef0123456789abcdef0123456789abcdef"]
//! ```
//! It is read at start, where a fault ends the start, and again when it has changed, where a fault is told and the list
//! stays as it was. A fault is told with its place in the file.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use sluice_contract::{Hex40, Selector};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Largest file that is read: far above any real list.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Channels of one file.
const CHANNELS_MAX: usize = 10_000;
/// Ids of one channel: each may cost a whole start timeout before the next is tried.
const IDS_MAX: usize = 8;
/// Characters of a name: it stands in URLs and logs.
const NAME_CHARS_MAX: usize = 128;

/// Where channels are named, and what stood there at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelsFile {
    /// The file; `None` when there is none.
    pub path: Option<PathBuf>,
    /// Its channels.
    pub list: Channels,
}

impl ChannelsFile {
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        Ok(Self { path: Some(path.to_owned()), list: Channels::load(path)? })
    }
}

/// What tells that a file is another one than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    changed: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// A file of channels that is looked at from time to time.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    /// As it was when it was last read; `None` when it could not be looked at.
    mark: Option<Mark>,
}

impl Watched {
    /// A file whose first look counts as a change: it may have changed since it was read at start.
    pub fn new(path: PathBuf) -> Self {
        Self { path, mark: None }
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands in it, if that may be something else than before.
    ///
    /// # Errors
    /// What is wrong with it, and where; told once for each change.
    pub fn reread(&mut self) -> Option<Result<Channels, String>> {
        let mark = Self::look(&self.path);
        if mark == self.mark {
            return None;
        }
        self.mark = mark;
        Some(Channels::load(&self.path))
    }

    fn look(path: &Path) -> Option<Mark> {
        let found = std::fs::metadata(path).ok()?;
        Some(Mark { changed: found.modified().ok(), bytes: found.len(), inode: found.ino() })
    }
}

/// Named channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels(BTreeMap<Box<str>, Box<[Selector]>>);

impl Channels {
    /// The ids of a channel, best first; `None` when there is no such channel.
    pub fn get(&self, name: &str) -> Option<&[Selector]> {
        self.0.get(name).map(|ids| &**ids)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?.len();
        if size > FILE_BYTES_MAX {
            return Err(format!("it has {size} bytes, at most {FILE_BYTES_MAX} are read"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if is_json { Self::from_json(&text) } else { Self::from_toml(&text) }
    }

    fn from_json(text: &str) -> Result<Self, String> {
        // serde_json tells the place itself.
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            format!("{} at line {line} column {column}", error.message().replace('\n', ", "))
        })
    }
}

/// An id as the file has it.
struct Id(Selector);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = |text: &str| text.parse::<Hex40>().map_err(D::Error::custom);
        Ok(Self(match text.trim().split_once(':') {
            None => Selector::ContentId(parse(&text)?),
            Some(("infohash", number)) => Selector::Infohash(parse(number)?),
            Some(("id", number)) => Selector::ContentId(parse(number)?),
            Some((kind, _)) => {
                return Err(D::Error::custom(format!("{kind:?} is neither id nor infohash")));
            }
        }))
    }
}

/// The ids of one channel.
struct Ids(Vec<Selector>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ids: Vec<Selector> = Vec::<Id>::deserialize(deserializer)?.into_iter().map(|id| id.0).collect();
        if ids.is_empty() || ids.len() > IDS_MAX {
            return Err(D::Error::custom(format!("{} ids, a channel has 1 to {IDS_MAX}", ids.len())));
        }
        let twice = (1..ids.len()).find(|at| ids[..*at].iter().any(|id| id.value() == ids[*at].value()));
        match twice {
            Some(at) => Err(D::Error::custom(format!("{} stands there twice", ids[at].value()))),
            None => Ok(Self(ids)),
        }
    }
}

impl<'de> Deserialize<'de> for Channels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Channels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table from channel names to lists of ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Channels, A::Error> {
        let mut channels = Channels::default();
        while let Some(name) = map.next_key::<String>()? {
            let length = name.chars().count();
            let is_trimmed = !name.is_empty() && name.trim() == name;
            if !is_trimmed || length > NAME_CHARS_MAX || name.chars().any(char::is_control) {
                let fault = format!("{name:?} is no name: 1 to {NAME_CHARS_MAX} printable characters");
                return Err(A::Error::custom(fault));
            }
            if channels.0.contains_key(name.as_str()) {
                return Err(A::Error::custom(format!("{name:?} stands there twice")));
            }
            if channels.len() == CHANNELS_MAX {
                return Err(A::Error::custom(format!("more than {CHANNELS_MAX} channels")));
            }
            let ids = map.next_value::<Ids>()?.0;
            channels.0.insert(name.into(), ids.into());
        }
        Ok(channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdef0123456789abcdef01234567";
    const B: &str = "89abcdef0123456789abcdef0123456789abcdef";

    /// Guards: the example for operators is one.
    #[test]
    fn the_example_is_a_list() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/channels.toml");
        let channels = Channels::load(Path::new(example)).unwrap();
        assert_eq!((channels.len(), channels.get("news").map(<[_]>::len)), (2, Some(2)));
    }

    /// Guards that both forms say the same, and that order and kind of the ids are kept.
    #[test]
    fn both_forms_name_the_same_channels() {
        let toml = format!("news = [\"{A}\", \"infohash:{B}\"]\n\"Der Sport\" = [\"id:{B}\"]\n");
        let json = format!("{{\"news\": [\"{A}\", \"infohash:{B}\"], \"Der Sport\": [\"{B}\"]}}");
        let channels = Channels::from_toml(&toml).unwrap();
        assert_eq!(channels, Channels::from_json(&json).unwrap());
        let ids = channels.get("news").unwrap();
        let expected = [Selector::ContentId(A.parse().unwrap()), Selector::Infohash(B.parse().unwrap())];
        assert_eq!(ids, expected);
        assert!(channels.get("sport").is_none());
    }

    /// Guards that every fault is told in words, with its place in the file.
    #[test]
    fn faults_have_a_place() {
        for (text, what, place) in [
            (
                format!("a = [\"{A}\"]\nb = [\"{}\"]\n", &A[1..]),
                "39 characters, an id has 40",
                "line 2 column 5",
            ),
            (format!("a = [\"{A}\", \"{A}\"]"), "stands there twice", "line 1 column 5"),
            ("a = []".to_owned(), "0 ids, a channel has 1 to 8", "line 1 column 5"),
            (format!("a = \"{A}\""), "expected a sequence", "line 1 column 5"),
            (format!("a = [\"link:{A}\"]"), "neither id nor infohash", "line 1 column 5"),
            ("a = [".to_owned(), "", "line 1"),
            (format!("a = [\"{A}\"]\na = [\"{B}\"]"), "duplicate", "line 2"),
        ] {
            let fault = Channels::from_toml(&text).unwrap_err();
            assert!(fault.contains(what) && fault.contains(place), "{text}: {fault}");
        }
        for (text, what) in [
            (format!("{{\"a\": [\"{A}\"],\n \"a\": [\"{B}\"]}}"), "stands there twice at line 2"),
            (format!("{{\"a\": [\"{}\"]}}", &A[1..]), "39 characters, an id has 40 at line 1"),
            (format!("{{\"\": [\"{A}\"]}}"), "is no name"),
            ("[]".to_owned(), "a table from channel names"),
        ] {
            let fault = Channels::from_json(&text).unwrap_err();
            assert!(fault.contains(what), "{text}: {fault}");
        }
        assert!(Channels::load(Path::new("/nowhere/channels.toml")).unwrap_err().contains("cannot be read"));
    }

    /// Guards: a file that changes is read again, a fault in it is told once, and one that has not changed is left alone.
    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("channels.toml");
        std::fs::write(&path, format!("news = [\"{A}\"]")).unwrap();
        let file = ChannelsFile::load(&path).unwrap();
        assert_eq!(file.list.len(), 1);
        let mut watched = Watched::new(path.clone());
        assert_eq!(watched.reread().unwrap().unwrap(), file.list);
        assert_eq!(watched.reread(), None);
        std::fs::write(&path, format!("news = [\"{A}\"]\nsport = [\"{B}\"]")).unwrap();
        assert_eq!(watched.reread().unwrap().unwrap().len(), 2);
        std::fs::write(&path, "news = 1").unwrap();
        assert!(watched.reread().unwrap().unwrap_err().contains("line 1"));
        assert_eq!(watched.reread(), None, "told twice");
        std::fs::remove_file(&path).unwrap();
        assert!(watched.reread().unwrap().unwrap_err().contains("cannot be read"));
    }
}
