//! Every metric name of the data plane, in one place.

use sluice_contract::metric::{Name, published};

pub(super) const ACCEPTED: Name = Name { name: "sluice_connections_accepted", help: "Connections accepted" };
pub(super) const HANDED_OVER: Name = Name {
    name: "sluice_connections_handed_over",
    help: "Connections handed to the shard that owns their stream",
};
pub(super) const TO_CONTROL: Name =
    Name { name: "sluice_connections_to_control", help: "Connections handed to the control plane" };
pub(super) const BYTES_IN: Name = Name { name: published::ENGINE_BYTES, help: "Bytes received from engines" };
pub(super) const ENGINE_READS: Name =
    Name { name: "sluice_engine_reads", help: "Reads from engines that brought something" };
pub(super) const BYTES_OUT: Name =
    Name { name: published::CLIENT_BYTES, help: "Bytes taken by players' sockets" };
pub(super) const GARBAGE_BYTES: Name =
    Name { name: "sluice_garbage_bytes", help: "Bytes from engines that belonged to no MPEG-TS packet" };
pub(super) const KEEPALIVE_PACKETS: Name =
    Name { name: "sluice_keepalive_packets", help: "Null packets sent to players of a silent stream" };
pub(super) const CLIENTS_STARTED: Name = Name { name: published::CLIENTS_STARTED, help: "Players admitted" };
pub(super) const SKIPS: Name = Name {
    name: "sluice_client_skips",
    help: "Times a player was moved forward because it was too far behind",
};
pub(super) const SKIPPED_BYTES: Name =
    Name { name: "sluice_client_skipped_bytes", help: "Bytes of media players missed by that" };
pub(super) const ENGINE_STARTS: Name =
    Name { name: "sluice_engine_session_starts", help: "Engine sessions asked for" };
pub(super) const ENGINE_STOPS: Name =
    Name { name: "sluice_engine_session_stops", help: "Engine sessions given back" };
pub(super) const SEGMENTS_MISSED: Name = Name {
    name: "sluice_engine_segments_missed",
    help: "Segments that an engine listed and could not give, of streams it gives as a playlist",
};
pub(super) const SPLICES: Name = Name {
    name: "sluice_splices",
    help: "Sources joined to a stream where another one had stopped, by kind",
};
pub(super) const SPLICE_LOST_BYTES: Name = Name {
    name: "sluice_splice_lost_bytes",
    help: "Bytes of media that players missed at splices by the clock",
};
pub(super) const SPLICE_REPEATED_BYTES: Name = Name {
    name: "sluice_splice_repeated_bytes",
    help: "Bytes of media that players were given twice at splices by the clock",
};
pub(super) const MOVES_ASKED: Name = Name {
    name: "sluice_session_moves_asked",
    help: "Sessions asked to move to another engine while they played, by reason",
};
pub(super) const MOVES_DONE: Name =
    Name { name: "sluice_session_moves_done", help: "Sessions moved to another engine while they played" };
pub(super) const MOVES_FAILED: Name =
    Name { name: "sluice_session_moves_failed", help: "Moves of sessions that came to nothing" };
pub(super) const CHANNEL_FALLBACKS: Name =
    Name { name: "sluice_channel_fallbacks", help: "Times a channel went on with another of its ids" };
pub(super) const CHANNEL_RACES: Name =
    Name { name: "sluice_channel_races", help: "Starts of channels with two ids at once" };
pub(super) const CHANNEL_RACES_ALONE: Name = Name {
    name: "sluice_channel_races_alone",
    help: "Starts that were to be races and had no second engine",
};
pub(super) const SESSIONS_STARTED: Name = Name { name: published::SESSIONS_STARTED, help: "Sessions begun" };
pub(super) const HLS_PLAYLISTS: Name =
    Name { name: "sluice_hls_playlists", help: "Playlists given to HLS players" };
pub(super) const HLS_SEGMENTS: Name =
    Name { name: "sluice_hls_segments", help: "Segments and parts that were begun to be sent" };
pub(super) const HLS_CUT: Name = Name {
    name: "sluice_hls_segments_cut",
    help: "Segments and parts not sent to their end: the player left, took nothing, or was too late",
};
pub(super) const PANICS: Name =
    Name { name: "sluice_task_panics", help: "Tasks that failed inside the appliance" };
pub(super) const PLAYS_UNTOLD: Name = Name {
    name: "sluice_plays_untold",
    help: "Plays whose moments were not traced because control was too busy to hear of them",
};
pub(super) const CLIENTS: Name = Name { name: "sluice_clients", help: "Players connected" };
pub(super) const WAITING: Name =
    Name { name: "sluice_clients_waiting", help: "Players that wait for a start" };
pub(super) const SESSIONS: Name =
    Name { name: "sluice_sessions", help: "Sessions, those in their grace period included" };
pub(super) const WINDOW_BYTES: Name =
    Name { name: "sluice_window_bytes", help: "Bytes of memory in windows" };
pub(super) const TICK_SECONDS: Name =
    Name { name: "sluice_tick_seconds", help: "Present rhythm of the fan-out, seconds" };
pub(super) const INBOX: Name =
    Name { name: "sluice_inbox_messages", help: "Messages waiting in the shard's inbox" };
pub(super) const IO_URING: Name =
    Name { name: "sluice_io_uring", help: "1 when the shard runs on io_uring, 0 on epoll" };
pub(super) const JOIN_SECONDS: Name = Name {
    name: published::JOIN_SECONDS,
    help: "From request to first media in the socket, joins to running streams, seconds",
};
pub(super) const DELIVERY_GAP_SECONDS: Name =
    Name { name: published::DELIVERY_GAP_SECONDS, help: "Between two deliveries to one player, seconds" };
pub(super) const WALK_BUSY_SECONDS: Name = Name {
    name: "sluice_walk_busy_seconds",
    help: "How much of a whole walk was spent on its clients, seconds",
};
pub(super) const TICK_LENGTH_SECONDS: Name =
    Name { name: "sluice_tick_length_seconds", help: "How long a whole walk over the clients took, seconds" };
pub(super) const HAND_OVER_SECONDS: Name =
    Name { name: "sluice_hand_over_seconds", help: "From accept to arrival at the owner shard, seconds" };
pub(super) const CANARY_SECONDS: Name = Name {
    name: "sluice_canary_delay_seconds",
    help: "How late a 10 ms timer of a busy shard fires, seconds",
};
pub(super) const SESSION_SECONDS: Name = Name {
    name: published::SESSION_SECONDS,
    help: "From the first request for a stream to the end of its session, seconds",
};
pub(super) const CLIENTS_ENDED: Name =
    Name { name: "sluice_clients_ended", help: "Players that ended, by reason" };
pub(super) const SESSIONS_ENDED: Name =
    Name { name: "sluice_sessions_ended", help: "Sessions that ended, by reason" };
pub(super) const REFUSED: Name = Name { name: "sluice_requests_refused", help: "Requests refused, by code" };
pub(super) const REPLICAS: Name =
    Name { name: "sluice_replicas", help: "Sessions of other shards that the shard serves too" };
pub(super) const REPLICAS_OPENED: Name = Name {
    name: "sluice_replicas_opened",
    help: "Times another shard began to serve a session of this one, which had many players",
};
pub(super) const REPLICAS_REFUSED: Name =
    Name { name: "sluice_replicas_refused", help: "Times it could not, for want of memory or descriptors" };
pub(super) const REPLICAS_ENDED: Name = Name {
    name: "sluice_replicas_ended",
    help: "Times another shard served a session of this one no more, by reason",
};
pub(super) const CLIENTS_MOVED: Name =
    Name { name: "sluice_clients_moved", help: "Players given to another shard to be served there" };
pub(super) const WORDS_HELD: Name = Name {
    name: "sluice_shard_words_held",
    help: "Words to another shard that had to wait for room in its inbox",
};
