//! Who plays over HLS: one entry per token, kept alive by requests.

use crate::client::Identity;
use crate::handover::age;
use serde::{Deserialize, Serialize};
use sluice_contract::{Guard, Refusal, RefusalCode};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

/// Viewers of one shard at most, whatever the limits on players are: some 40 MiB of entries.
const VIEWERS_MAX: usize = 50_000;
/// A viewer's rate is taken over at least this long: it takes a segment at once and then nothing for a while.
const RATE_OVER: Duration = Duration::from_secs(8);
/// Tokens of one address that nobody has used yet, at most. A player uses its token at once; what asks for tokens and
/// does not use them is no player.
const UNUSED_PER_ADDRESS_MAX: u32 = 1024;

/// What names a viewer in its addresses: which shard knows it, and a number nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    shard: u16,
    number: u128,
}

impl Token {
    /// A token of a shard.
    pub fn new(shard: u16, number: u128) -> Self {
        Self { shard, number }
    }

    /// The shard that knows it.
    pub fn shard(self) -> u16 {
        self.shard
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}{:032x}", self.shard, self.number)
    }
}

/// Not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is 36 lower-case hexadecimal digits")]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (shard, number) =
            text.split_at_checked(4).filter(|_| is_hex && text.len() == 36).ok_or(NoToken)?;
        let shard = u16::from_str_radix(shard, 16).map_err(|_| NoToken)?;
        let number = u128::from_str_radix(number, 16).map_err(|_| NoToken)?;
        Ok(Self { shard, number })
    }
}

/// One player. `S` is the stream it plays.
pub struct Viewer<S> {
    /// Who it is.
    pub identity: Identity,
    /// What it plays.
    pub stream: S,
    /// Bytes its sockets took.
    pub bytes_sent: u64,
    /// Offset after the newest media it was sent.
    pub cursor: u64,
    /// When it last asked for something or took bytes.
    pub last_active: SystemTime,
    /// When its rate was last taken, of how many bytes, and what it was.
    rate: (Instant, u64, u64),
    last_seen: Instant,
    is_used: bool,
    _guard: Guard,
}

impl<S> Viewer<S> {
    /// Bytes per second its sockets took lately.
    pub fn rate(&self) -> u64 {
        self.rate.2
    }
}

/// A viewer as another process is told of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    token: Token,
    identity: Identity,
    bytes_sent: u64,
    cursor: u64,
    last_active: SystemTime,
    #[serde(with = "age")]
    rate_taken: Instant,
    rate: (u64, u64),
    #[serde(with = "age")]
    last_seen: Instant,
    is_used: bool,
}

impl Told {
    /// Where it comes from.
    pub fn address(&self) -> IpAddr {
        self.identity.address
    }
}

/// All viewers of a shard.
pub struct Viewers<S> {
    viewers: HashMap<Token, Viewer<S>>,
    unused: HashMap<IpAddr, u32>,
}

impl<S> Default for Viewers<S> {
    fn default() -> Self {
        Self { viewers: HashMap::new(), unused: HashMap::new() }
    }
}

impl<S> Viewers<S> {
    /// Whether another viewer of this address may be admitted.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn has_room(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.viewers.len() >= VIEWERS_MAX {
            let detail = "all places for players are taken";
            return Err(Refusal::new(RefusalCode::ClientsMax, detail).retry_after(10));
        }
        if self.unused.get(&address).is_some_and(|count| *count >= UNUSED_PER_ADDRESS_MAX) {
            let detail = "this address has asked for many playlists and used none of them";
            return Err(Refusal::new(RefusalCode::AddressRate, detail).retry_after(15));
        }
        Ok(())
    }

    /// Takes a viewer in; ask [`Viewers::has_room`] first.
    pub fn admit(&mut self, token: Token, identity: Identity, stream: S, guard: Guard, now: Instant) {
        *self.unused.entry(identity.address).or_default() += 1;
        let viewer = Viewer {
            last_active: identity.connected_at,
            identity,
            stream,
            bytes_sent: 0,
            cursor: 0,
            rate: (now, 0, 0),
            last_seen: now,
            is_used: false,
            _guard: guard,
        };
        self.viewers.insert(token, viewer);
    }

    /// What another process needs to go on with those that play something.
    pub fn tell(&self, is_it: impl Fn(&S) -> bool) -> Vec<Told> {
        let of_it = self.viewers.iter().filter(|(_, viewer)| is_it(&viewer.stream));
        let told = |(token, viewer): (&Token, &Viewer<S>)| Told {
            token: *token,
            identity: viewer.identity.clone(),
            bytes_sent: viewer.bytes_sent,
            cursor: viewer.cursor,
            last_active: viewer.last_active,
            rate_taken: viewer.rate.0,
            rate: (viewer.rate.1, viewer.rate.2),
            last_seen: viewer.last_seen,
            is_used: viewer.is_used,
        };
        of_it.map(told).collect()
    }

    /// Goes on with a viewer of another process, under the token it has.
    pub fn take_over(&mut self, told: Told, stream: S, guard: Guard) {
        if !told.is_used {
            *self.unused.entry(told.identity.address).or_default() += 1;
        }
        let viewer = Viewer {
            stream,
            bytes_sent: told.bytes_sent,
            cursor: told.cursor,
            last_active: told.last_active,
            rate: (told.rate_taken, told.rate.0, told.rate.1),
            last_seen: told.last_seen,
            is_used: told.is_used,
            identity: told.identity,
            _guard: guard,
        };
        self.viewers.insert(told.token, viewer);
    }

    /// The viewer of a token, which is there now.
    pub fn touch(&mut self, token: Token, now: Instant) -> Option<&mut Viewer<S>> {
        let viewer = self.viewers.get_mut(&token)?;
        viewer.last_seen = now;
        viewer.last_active = SystemTime::now();
        if !std::mem::replace(&mut viewer.is_used, true) {
            used(&mut self.unused, viewer.identity.address);
        }
        Some(viewer)
    }

    /// A viewer that looks like whoever asks without a token: same address, same program, same stream.
    pub fn alike(&self, identity: &Identity, is_same: impl Fn(&S) -> bool) -> Option<Token> {
        let found = self.viewers.iter().find(|(_, viewer)| {
            viewer.identity.address == identity.address
                && viewer.identity.user_agent == identity.user_agent
                && is_same(&viewer.stream)
        });
        found.map(|(token, _)| *token)
    }

    /// Takes out who has not been seen for as long as its stream allows.
    pub fn expire(&mut self, now: Instant, idle: impl Fn(&S) -> Duration) -> Vec<Viewer<S>> {
        self.take_out(|viewer| now.saturating_duration_since(viewer.last_seen) >= idle(&viewer.stream))
    }

    /// Takes out who plays something.
    pub fn end(&mut self, is_it: impl Fn(&S) -> bool) -> Vec<Viewer<S>> {
        self.take_out(|viewer| is_it(&viewer.stream))
    }

    /// Takes the rates of those whose last one is old enough; to be called now and then.
    pub fn take_rates(&mut self, now: Instant) {
        for viewer in self.viewers.values_mut() {
            let (since, before, _) = viewer.rate;
            let over = now.saturating_duration_since(since);
            if over >= RATE_OVER {
                let rate = (viewer.bytes_sent - before) as f64 / over.as_secs_f64();
                viewer.rate = (now, viewer.bytes_sent, rate as u64);
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Viewer<S>> {
        self.viewers.values()
    }

    fn take_out(&mut self, is_over: impl Fn(&Viewer<S>) -> bool) -> Vec<Viewer<S>> {
        let out: Vec<Viewer<S>> =
            self.viewers.extract_if(|_, viewer| is_over(viewer)).map(|(_, viewer)| viewer).collect();
        for viewer in out.iter().filter(|viewer| !viewer.is_used) {
            used(&mut self.unused, viewer.identity.address);
        }
        out
    }
}

fn used(unused: &mut HashMap<IpAddr, u32>, address: IpAddr) {
    if let Some(count) = unused.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            unused.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_contract::ClientId;

    const IDLE: Duration = Duration::from_secs(15);

    fn identity(address: u32, agent: &str) -> Identity {
        Identity {
            id: ClientId(1),
            address: IpAddr::from(address.to_be_bytes()),
            user_agent: agent.into(),
            connected_at: SystemTime::UNIX_EPOCH,
        }
    }

    fn admit(viewers: &mut Viewers<&'static str>, number: u128, address: u32, now: Instant) -> Token {
        let token = Token::new(3, number);
        viewers.has_room(IpAddr::from(address.to_be_bytes())).unwrap();
        viewers.admit(token, identity(address, "agent"), "a", Guard::new(()), now);
        token
    }

    /// Guards: a token is read back as written, and nothing else is one.
    #[test]
    fn tokens_are_read_back_in_one_spelling() {
        for token in [Token::new(0, 0), Token::new(u16::MAX, u128::MAX), Token::new(2, 1 << 90)] {
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        let text = Token::new(2, 0xabc).to_string();
        for wrong in [&text[1..], &format!("{text}0"), &text.to_uppercase(), "", &text.replace('a', "+")] {
            assert_eq!(wrong.parse::<Token>(), Err(NoToken), "{wrong}");
        }
    }

    /// Guards: a viewer stays while it asks, and is taken out once it has not for long enough.
    #[test]
    fn who_asks_stays_and_who_does_not_goes() {
        let start = Instant::now();
        let mut viewers = Viewers::default();
        let (one, two) = (admit(&mut viewers, 1, 1, start), admit(&mut viewers, 2, 1, start));
        let later = start + Duration::from_secs(10);
        assert!(viewers.touch(one, later).is_some());
        assert!(viewers.expire(start + IDLE - Duration::from_millis(1), |_| IDLE).is_empty());
        let gone = viewers.expire(start + IDLE, |_| IDLE);
        assert_eq!((gone.len(), viewers.iter().len()), (1, 1));
        assert!(viewers.touch(two, later).is_none(), "a token that is over came back");
        assert_eq!(viewers.end(|stream| *stream == "b").len(), 0);
        assert_eq!(viewers.end(|stream| *stream == "a").len(), 1);
        assert!(viewers.unused.is_empty());
    }

    /// Guards: an address that collects tokens is refused, others are not, and using or losing them makes room again.
    #[test]
    fn an_address_that_collects_tokens_is_refused() {
        let start = Instant::now();
        let mut viewers = Viewers::default();
        let tokens: Vec<Token> =
            (0..UNUSED_PER_ADDRESS_MAX).map(|n| admit(&mut viewers, n.into(), 1, start)).collect();
        let one = IpAddr::from(1u32.to_be_bytes());
        assert_eq!(viewers.has_room(one).unwrap_err().code, RefusalCode::AddressRate);
        admit(&mut viewers, 1 << 40, 2, start);
        viewers.touch(tokens[0], start).unwrap();
        viewers.touch(tokens[0], start).unwrap();
        admit(&mut viewers, 1 << 41, 1, start);
        assert!(viewers.has_room(one).is_err());
        viewers.expire(start + IDLE, |_| IDLE);
        viewers.has_room(one).unwrap();
        assert!(viewers.unused.is_empty() && viewers.iter().len() == 0);
    }

    /// Guards: a rate is taken over segments and pauses alike.
    #[test]
    fn a_rate_is_that_of_several_seconds() {
        let start = Instant::now();
        let mut viewers = Viewers::default();
        let token = admit(&mut viewers, 1, 1, start);
        viewers.touch(token, start).unwrap().bytes_sent = 8_000_000;
        viewers.take_rates(start + Duration::from_secs(1));
        assert_eq!(viewers.iter().next().unwrap().rate(), 0, "too early to tell");
        viewers.take_rates(start + RATE_OVER);
        assert_eq!(viewers.iter().next().unwrap().rate(), 1_000_000);
        viewers.take_rates(start + RATE_OVER * 2);
        assert_eq!(viewers.iter().next().unwrap().rate(), 0);
    }

    /// Guards: who asks without a token is taken for the viewer it looks like, on the same stream only.
    #[test]
    fn without_a_token_the_likeness_counts() {
        let mut viewers = Viewers::default();
        let token = admit(&mut viewers, 1, 1, Instant::now());
        assert_eq!(viewers.alike(&identity(1, "agent"), |stream| *stream == "a"), Some(token));
        assert_eq!(viewers.alike(&identity(1, "agent"), |stream| *stream == "b"), None);
        assert_eq!(viewers.alike(&identity(1, "other"), |_| true), None);
        assert_eq!(viewers.alike(&identity(2, "agent"), |_| true), None);
    }
}
