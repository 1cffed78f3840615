//! What other proxies say of their streams, and which engine they mean. Pure.

use super::book::Book;
use super::stream::{EngineName, KeyType, Source, Start};
use crate::engines::Standing;
use crate::engines::authority::split;
use std::collections::BTreeMap;

/// A stream that starts, as another proxy reports it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The engine, or the reporter itself: acexy sends the id of its own container.
    pub(crate) container_id: Option<String>,
    /// Where the engine's API answers.
    pub(crate) host: String,
    /// Where the engine's API answers.
    pub(crate) port: u16,
    /// What kind of name `key` is.
    pub(crate) key_type: KeyType,
    /// What was asked for.
    pub(crate) key: String,
    /// The engine's own name of the playback.
    pub(crate) playback_session_id: String,
    /// Where the engine tells its figures; may be empty.
    pub(crate) stat_url: String,
    /// Where the engine takes commands; may be empty.
    pub(crate) command_url: String,
    /// Whether it is live.
    pub(crate) is_live: bool,
    /// What else there is to say; `stream_id` names the stream.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A stream that ended, as another proxy reports it.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndReport {
    /// The engine, or the reporter itself.
    pub(crate) container_id: Option<String>,
    /// Which stream.
    pub(crate) stream_id: Option<String>,
    /// Why.
    pub(crate) reason: Option<String>,
}

impl Report {
    /// The start of a stream on the engine that is meant.
    pub(super) fn into_start(self, engines: &Standing, book: &Book) -> Start {
        let given = self.labels.get("stream_id").filter(|id| !id.is_empty()).cloned();
        let id = given.unwrap_or_else(|| format!("{}|{}", self.key, self.playback_session_id));
        let engine = self.engine(engines, book);
        let infohash = (self.key_type == KeyType::Infohash).then(|| self.key.parse().ok()).flatten();
        Start {
            id,
            source: Source::Reported,
            key_type: self.key_type,
            key: self.key,
            infohash,
            engine,
            reporter: self.container_id,
            playback_session_id: self.playback_session_id,
            stat_url: self.stat_url,
            command_url: self.command_url,
            is_live: self.is_live,
            labels: self.labels,
        }
    }

    /// The engine: one we know by its id, else one we know by its address, else one of somebody else's. Ours keep the address
    /// they have; somebody else's goes by the id that was sent, unless that id already stands for another address: then it is
    /// the reporter's own, and the address is the name.
    fn engine(&self, engines: &Standing, book: &Book) -> EngineName {
        let name = |id: &str, host: &str, port| EngineName { id: id.into(), host: host.to_owned(), port };
        let known =
            |engine: &&crate::engines::EngineStanding| Some(&*engine.id.0) == self.container_id.as_deref();
        if let Some(engine) = engines.engines.iter().find(known) {
            let (host, port) = split(&engine.authority);
            return name(&engine.id.0, host, port);
        }
        let is_here = |host: &str, port| host.eq_ignore_ascii_case(&self.host) && port == self.port;
        let by_address = engines.engines.iter().find(|engine| {
            let (host, port) = split(&engine.authority);
            is_here(host, port)
                || engine.address.is_some_and(|address| is_here(&address.ip().to_string(), address.port()))
        });
        if let Some(engine) = by_address {
            return name(&engine.id.0, &self.host, self.port);
        }
        let address = format!("{}:{}", self.host, self.port);
        let foreign = || book.active().map(|shown| &shown.stream.start.engine);
        // One playback after the other on one engine: it keeps the id it was first given.
        if let Some(engine) = foreign().find(|engine| is_here(&engine.host, engine.port)) {
            return engine.clone();
        }
        match self.container_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) if foreign().all(|engine| &*engine.id != id) => name(id, &self.host, self.port),
            _ => name(&address, &self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::EngineStanding;
    use crate::engines::health::State;
    use crate::streams::book::Started;
    use sluice_contract::EngineId;
    use std::time::UNIX_EPOCH;

    fn engines(names: &[(&str, &str)]) -> Standing {
        let engine = |(id, authority): &(&str, &str)| EngineStanding {
            id: EngineId((*id).into()),
            authority: (*authority).into(),
            address: Some("10.0.0.7:6878".parse().unwrap()),
            state: State::Healthy,
            fault: None,
            leases: 0,
            starts: 0,
            silent: 0,
            group: None,
            kind: crate::engines::plan::Kind::Static,
            is_connected: None,
            is_drained: false,
            is_forwarded: false,
        };
        Standing { engines: names.iter().map(engine).collect(), ..Standing::default() }
    }

    fn report(container_id: Option<&str>, host: &str, port: u16) -> Report {
        Report {
            container_id: container_id.map(str::to_owned),
            host: host.into(),
            port,
            key_type: KeyType::Infohash,
            key: "k".into(),
            playback_session_id: format!("{host}{port}"),
            stat_url: String::new(),
            command_url: String::new(),
            is_live: true,
            labels: BTreeMap::new(),
        }
    }

    fn engine_of(book: &mut Book, standing: &Standing, report: Report) -> (String, String) {
        let start = report.into_start(standing, book);
        let Ok(Started::Registered(shown)) = book.start(UNIX_EPOCH, start) else { panic!("not registered") };
        let engine = &shown.stream.start.engine;
        (engine.id.to_string(), format!("{}:{}", engine.host, engine.port))
    }

    /// Guards: acexy sends the id of its own container; the engine is found by host and port, by name and by address. An
    /// engine of ours that is named by id keeps the address it has.
    #[test]
    fn the_engine_is_found_by_id_or_address() {
        let standing = engines(&[("4f1c", "gluetun:19000")]);
        let mut book = Book::from_stored(Vec::new(), 9);
        for (container_id, host, port) in [
            (Some("acexy"), "gluetun", 19000),
            (None, "GLUETUN", 19000),
            (Some("acexy"), "10.0.0.7", 6878),
            (Some("4f1c"), "elsewhere", 1),
        ] {
            assert_eq!(
                engine_of(&mut book, &standing, report(container_id, host, port)).0,
                "4f1c",
                "{host}:{port}"
            );
        }
        let named = engine_of(&mut book, &standing, report(Some("4f1c"), "elsewhere", 1));
        assert_eq!(named.1, "gluetun:19000");
    }

    /// Guards: engines nobody here knows go by the id that was sent, or by their address; two of them never share an id
    /// because one reporter sends its own for both.
    #[test]
    fn foreign_engines_keep_apart() {
        let (standing, mut book) = (engines(&[]), Book::from_stored(Vec::new(), 9));
        let mut id =
            |container_id, host: &str| engine_of(&mut book, &standing, report(container_id, host, 1)).0;
        assert_eq!(id(Some("acexy"), "one"), "acexy");
        assert_eq!(id(Some("acexy"), "two"), "two:1");
        assert_eq!(id(Some("acexy"), "one"), "acexy", "the same engine keeps its id");
        assert_eq!(id(None, "three"), "three:1");
    }

    /// Guards: the id is the label's, or made of key and playback.
    #[test]
    fn ids_come_from_the_label_or_are_made() {
        let (standing, book) = (engines(&[]), Book::from_stored(Vec::new(), 9));
        let id = |label: Option<&str>| {
            let mut report = report(None, "h", 1);
            report.labels.extend(label.map(|label| ("stream_id".to_owned(), label.to_owned())));
            report.into_start(&standing, &book).id
        };
        assert_eq!(
            (id(Some("ch-42")), id(Some("")), id(None)),
            ("ch-42".into(), "k|h1".into(), "k|h1".into())
        );
    }
}
