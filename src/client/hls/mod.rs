//! Players that play over HLS: what they may ask for, who they are, and the segments and playlists of each stream.
//!
//! Such a player has no connection of its own: it asks for a playlist and for segments, each time over whatever
//! connection is at hand. What makes it one client is the token in the addresses it is given ([`Viewers`]); what it is
//! given are ranges of the same window that continuous players are sent ([`Stream`]). Nothing here waits or sends.
//! Owner: the shard of the client's session.

mod stream;
mod target;
mod viewers;

pub use stream::{Hold, Piece, Stream, Told as StreamTold};
pub use target::{Reload, Target, target};
pub use viewers::{Token, Told as ViewerTold, Viewer, Viewers};
