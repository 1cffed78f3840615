//! The words the data plane and the control plane exchange: ids, states, grants, refusals, reports and the
//! bounded link that carries them.
//!
//! No runtime and no I/O: both planes depend on this package and it depends on neither. Every message is an owned,
//! complete value; every request carries its deadline; every answer, refusal included, is a variant. All types are
//! `Send`, none of them does anything when dropped except [`Guard`] and the descriptor inside [`Connection`].

pub mod connection;
pub mod directory;
pub mod ids;
pub mod lease;
pub mod link;
pub mod message;
pub mod metric;
pub mod play;
pub mod reason;
pub mod snapshot;
pub mod supply;
pub mod tuning;

pub use connection::{Connection, Guard};
pub use directory::Directory;
pub use ids::{
    Alias, ClientId, EngineId, Epoch, Hex40, IdError, LeaseId, Options, Selector, ShardId, StreamKey,
    StreamName, Ticket,
};
pub use lease::{EngineFault, Lease, LeaseRequest, LeaseReturn};
pub use message::{Holdings, Resolution, ResolveRequest, ToControl, ToShard};
pub use play::{Play, Start};
pub use reason::{EndReason, MoveReason, Refusal, RefusalCode};
pub use supply::{DockerState, EngineSource, Shortfall, Supply, Unwell};
pub use tuning::{Dial, Tuning};
