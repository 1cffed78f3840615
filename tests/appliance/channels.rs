//! Channels: several ids for one name, one session for all who ask by it.

use crate::common::{Appliance, SOON, Setup, eventually, until};
use crate::hls::Viewer;
use crate::scene::{RATE, engine, stopped_once_each};
use crate::stage::{assert_refusal, refused};
use crate::upgrade::upgrade;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Cut, Engine};
use sluice_bench::player::{Player, check};
use std::fs;
use std::process::Stdio;
use tempfile::TempDir;

/// A directory with a file of channels.
struct List(TempDir);

impl List {
    fn new(text: &str) -> Self {
        let list = Self(
            TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the directory for tests can be written"),
        );
        list.write(text);
        list
    }

    /// News, with these channels of the engines in this order.
    fn news(order: &[u32]) -> Self {
        let ids: Vec<String> = order.iter().map(|n| format!("\"{}\"", nth(*n).0)).collect();
        Self::new(&format!("news = [{}]\n", ids.join(", ")))
    }

    fn path(&self) -> String {
        self.0.path().join("channels.toml").to_str().expect("the path is text").to_owned()
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).expect("the file can be written");
    }
}

fn knowing(count: u32) -> Engine {
    engine((0..count).map(|n| ChannelSpec::synthetic(n, RATE)).collect())
}

fn asking(appliance: &Appliance, query: &str) -> Player {
    Player::get(appliance.addr(), &format!("/ace/getstream?{query}")).check(check::Options::default()).start()
}

fn plays(player: &Player) {
    player.wait_decodable(SOON).expect("it plays");
    player.wait_more(RATE / 2, SOON).expect("it goes on");
    assert_eq!(player.report().faults(), Vec::<String>::new(), "{}", player.snapshot());
}

/// One change to another broadcast, flagged, on the same socket. Players are seconds behind: it takes as long to reach them.
fn sees_the_next_id(player: &Player) {
    until("the next id is seen", || !player.report().faults().is_empty() || player.end().is_some());
    player.wait_more(RATE, SOON).expect("it plays on");
    let faults = player.report().faults();
    let is_other = |fault: &String| fault.ends_with("packets of another broadcast");
    assert!(faults.len() == 1 && faults.iter().all(is_other), "{faults:?} {}", player.snapshot());
    assert_eq!(player.end(), None);
}

/// What is shown of the only session's channel.
fn shown(appliance: &Appliance) -> serde_json::Value {
    let sessions = appliance.json("/proxy/sessions")["sessions"].clone();
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions}");
    sessions[0]["channel"].clone()
}

/// Guards: a channel plays the first of its ids that starts, in one session for all who ask by its name or by the id it
/// plays; what was passed over is told; names that are none are 404, and a name beside an id 400.
#[test]
fn a_channel_plays_the_first_id_that_starts() {
    let engine = knowing(2);
    let unknown = "f".repeat(40);
    let list = List::new(&format!("news = [\"{unknown}\", \"{}\", \"{}\"]\n", nth(1).0, nth(0).0));
    let appliance = Setup::with_engines(&[&engine]).env("CHANNELS_FILE", &list.path()).start();
    let first = asking(&appliance, "channel=news");
    plays(&first);
    let by_id = format!("id={}", nth(1).0);
    let players = [first, asking(&appliance, "channel=news"), asking(&appliance, &by_id)];
    players.iter().for_each(plays);
    let counters = engine.control().counters(nth(1).1).unwrap();
    assert_eq!((counters.opens, engine.control().counters(nth(0).1).unwrap().opens), (1, 0), "{counters:?}");
    until("all of them are shown", || {
        appliance.json("/ace/status?channel=news")["clients"] == 3
            && appliance.json("/ace/status")["streams"] == 1
    });
    let channel = shown(&appliance);
    assert_eq!(channel["name"], "news");
    assert_eq!(channel["id"], nth(1).0.to_string());
    assert_eq!(channel["last_fallback"]["from"], unknown, "{channel}");
    assert_eq!(
        (&channel["last_fallback"]["code"], &channel["fallbacks"]),
        (&"content_not_found".into(), &1.into())
    );
    until("it is counted", || appliance.metric("sluice_channel_fallbacks_total") >= 1.0);
    assert_refusal(&refused(&asking(&appliance, "channel=nobody")), 404, "not_found");
    assert_refusal(&appliance.get("/ace/manifest.m3u8?channel=nobody"), 404, "not_found");
    assert_refusal(&refused(&asking(&appliance, &format!("channel=news&{by_id}"))), 400, "ambiguous_id");
}

/// Guards: an id that fails under its players is given up for the next one on the same sockets, with the cut flagged, also
/// over HLS; the decision is shown, and the id that was left can be asked for by itself again.
#[test]
fn a_channel_goes_on_with_its_next_id_under_its_players() {
    let engine = knowing(2);
    let control = engine.control();
    let list = List::news(&[0, 1]);
    let setup = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "100ms");
    let appliance = setup.env("CHANNELS_FILE", &list.path()).start();
    let players = [asking(&appliance, "channel=news"), asking(&appliance, "channel=news")];
    players.iter().for_each(plays);
    let mut viewer = Viewer::enter(&appliance, "channel=news");
    let fails = |fault: Option<&str>| {
        control.update_faults(nth(0).1, |faults| faults.start_error = fault.map(str::to_owned)).unwrap();
    };
    fails(Some("failed to start"));
    control.cut(nth(0).1, Cut::Eof).unwrap();
    until("the next id plays", || control.counters(nth(1).1).is_ok_and(|it| it.readers == 1));
    players.iter().for_each(sees_the_next_id);
    eventually("HLS players are told of the cut", || {
        viewer.playlist().text.contains("#EXT-X-DISCONTINUITY\n").then_some(())
    });
    let channel = shown(&appliance);
    assert_eq!(
        (&channel["id"], &channel["fallbacks"]),
        (&nth(1).0.to_string().into(), &1.into()),
        "{channel}"
    );
    assert_eq!(channel["last_fallback"]["from"], nth(0).0.to_string());
    let left = format!("/streams?key={}", nth(0).0);
    until("the stream that was left has its reason", || {
        let all = appliance.json(&left);
        all.as_array().is_some_and(|all| all.iter().any(|stream| stream["end_reason"] == "channel_fallback"))
    });
    // Both broadcasts show the same time: by their clocks one would be taken for a source of the other.
    let splices = |kind: &str| appliance.metric(&format!("sluice_splices_total{{kind=\"{kind}\""));
    let all = || ["exact", "clock", "random_access"].map(splices);
    until("it went on where its first picture begins", || all() == [0.0, 0.0, 1.0]);
    fails(None);
    plays(&asking(&appliance, &format!("id={}", nth(0).0)));
    assert_eq!(control.counters(nth(1).1).unwrap().opens, 1);
}

/// Guards: an upgrade takes a channel over as it is. Nobody is cut, its name leads to the same session, its fallback is still
/// shown, and when its id fails afterwards the next one plays on the same sockets.
#[test]
fn an_upgrade_keeps_what_a_channel_plays() {
    let engine = knowing(3);
    let control = engine.control();
    let fails = |n: u32| {
        let error = Some("failed to start".to_owned());
        control.update_faults(nth(n).1, |faults| faults.start_error = error).unwrap();
    };
    fails(0);
    let list = List::news(&[0, 1, 2]);
    let appliance = Setup::with_engines(&[&engine]).env("CHANNELS_FILE", &list.path()).start();
    let players = [asking(&appliance, "channel=news"), asking(&appliance, "channel=news")];
    players.iter().for_each(plays);
    let before = shown(&appliance);
    assert_eq!((&before["id"], &before["fallbacks"]), (&nth(1).0.to_string().into(), &1.into()), "{before}");
    let outcome = upgrade(appliance.data());
    assert!(outcome.status.success(), "{outcome:?}");
    players.iter().for_each(plays);
    plays(&asking(&appliance, "channel=news"));
    assert_eq!(control.counters(nth(1).1).unwrap().opens, 1, "it was opened anew");
    let after = shown(&appliance);
    assert_eq!(after, before);
    fails(1);
    control.cut(nth(1).1, Cut::Eof).unwrap();
    players.iter().for_each(sees_the_next_id);
    assert_eq!(shown(&appliance)["id"], nth(2).0.to_string());
}

/// Guards: a race opens the first two ids on different engines, the first with media plays, and the other one is stopped
/// exactly once; with one engine there is none, and that is told.
#[test]
fn a_race_is_won_by_the_first_with_media() {
    let engines = [knowing(2), knowing(2)];
    for engine in &engines {
        engine.control().update_faults(nth(0).1, |faults| faults.prebuffer_ms = Some(60_000)).unwrap();
    }
    let list = List::news(&[0, 1]);
    let setup = Setup::with_engines(&[&engines[0], &engines[1]]).env("PROXY_GRACE_PERIOD", "100ms");
    let appliance = setup.env("CHANNELS_FILE", &list.path()).start();
    appliance.wait_healthy(2);
    let player = asking(&appliance, "channel=news&race=2");
    plays(&player);
    until("the race is over", || shown(&appliance)["race"] == "second");
    let opens = |n: u32| engines.each_ref().map(|engine| engine.control().counters(nth(n).1).unwrap().opens);
    let (slow, quick) = (opens(0), opens(1));
    assert!(matches!((slow, quick), ([1, 0], [0, 1]) | ([0, 1], [1, 0])), "{slow:?} {quick:?}");
    for engine in &engines {
        stopped_once_each_of(engine, 0);
    }
    plays(&player);
    drop(player);
    for (engine, n) in engines.iter().flat_map(|engine| [(engine, 0), (engine, 1)]) {
        stopped_once_each(engine, nth(n).1);
    }
    assert!(appliance.metric("sluice_channel_races_total") >= 1.0);

    let appliance = Setup::with_engines(&[&engines[0]]).env("CHANNELS_FILE", &list.path()).start();
    engines[0].control().update_faults(nth(0).1, |faults| faults.prebuffer_ms = None).unwrap();
    let player = asking(&appliance, "channel=news&race=2");
    plays(&player);
    assert_eq!((&shown(&appliance)["race"], &shown(&appliance)["fallbacks"]), (&"alone".into(), &0.into()));
    assert_eq!(opens(1), quick, "both on one engine");
}

/// Waits until an engine that goes on serving has stopped all it opened of one channel.
fn stopped_once_each_of(engine: &Engine, n: u32) {
    until("the loser is stopped", || {
        engine.control().counters(nth(n).1).is_ok_and(|it| it.stops == it.opens && it.expiries == 0)
    });
}

/// Guards: a faulty file ends the start with the variable, the place of the fault and what is wrong; one that becomes
/// faulty while the appliance runs changes nothing and is told, and a good one is taken.
#[test]
fn a_faulty_list_is_refused_and_a_changed_one_is_taken() {
    let list = List::new("news = [\"0123\"]\n");
    let mut command = Setup::bare().env("CHANNELS_FILE", &list.path()).into_command();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    for part in ["CHANNELS_FILE", "line 1 column 8", "4 characters, an id has 40"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let engine = knowing(1);
    list.write("");
    let appliance = Setup::with_engines(&[&engine]).env("CHANNELS_FILE", &list.path()).start();
    let asked = || refused(&Player::get(appliance.addr(), "/ace/getstream?channel=news").start());
    assert_refusal(&asked(), 404, "not_found");
    list.write("news = 1\n");
    appliance.wait_log("the fault is told", |lines| {
        lines.iter().any(|line| line.contains("CHANNELS_FILE is not usable") && line.contains("line 1"))
    });
    list.write(&format!("news = [\"{}\"]\n", nth(0).0));
    appliance.wait_log("the list is taken", |lines| {
        lines.iter().any(|line| line.contains("list of channels has changed"))
    });
    plays(&asking(&appliance, "channel=news"));
}
