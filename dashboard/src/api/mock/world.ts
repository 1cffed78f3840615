// An invented appliance: engines, streams and players that behave as real ones do, from one seed. Everything is a function of the
// seed and the clock, so that two looks at one moment are the same, and an hour of looks costs no memory.
import type { Fields } from "../read";

export interface Scale {
  engines: number;
  streams: number;
  players: number;
}

/** Mulberry32: small, and good enough for inventing. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function hex(next: () => number, digits = 40): string {
  return Array.from({ length: digits }, () => Math.floor(next() * 16).toString(16)).join("");
}

const FORMATS = [["h264", "aac"], ["h264", "mp2"], ["hevc", "aac"], ["h264", "ac3"]];
const AGENTS = ["VLC/3.0.21 LibVLC/3.0.21", "mpv 0.39.0", "Kodi/21.1 (Linux; Android 12)", "TiviMate/5.1.6", "Lavf/61.7.100", "Jellyfin-Server/10.10.3", "ExoPlayerLib/2.19.1"];
const RATES = [1.9, 2.4, 4.1, 5.2, 7.8, 8.3, 12.2, 15.6];
const REASONS = ["client_left", "client_left", "client_left", "connection_lost", "write_timeout", "too_slow", "failover_exhausted"];

const ENDS = ["empty_timeout", "failover_exhausted", "client_left", "merged", "yielded"];

interface Stream {
  at: number;
  id: string;
  infohash: string;
  engine: number;
  state: string;
  players: number;
  waiting: number;
  rate: number;
  formats: string[];
  createdAgo: number;
  startTook: number;
  peers: number;
  behind: number;
  silentS: number;
  splices: number;
  seed: number;
}

/** How many of a second there are of what is counted, and which share of them stays within each bound, seconds. */
interface Shape {
  name: string;
  per: number;
  shares: [number, number][];
}

const iso = (milliseconds: number) => new Date(milliseconds).toISOString();

export class World {
  readonly born = Date.now();
  private readonly streams: Stream[] = [];
  private readonly moved = new Map<string, number>();
  private readonly stopped = new Map<string, number>();
  readonly drained = new Set<string>();

  constructor(
    readonly scale: Scale,
    private readonly hasVpn = false,
    seed = 7,
  ) {
    const next = random(seed);
    let left = scale.players;
    for (let at = 0; at < scale.streams; at += 1) {
      const draw = next();
      const state = draw < 0.9 ? "playing" : draw < 0.93 ? "grace" : draw < 0.955 ? "starting" : draw < 0.975 ? "recovering" : "stalled";
      // Few streams have most of the players.
      const wanted = scale.streams === 1 ? scale.players : Math.ceil((scale.players * 0.22) / (at + 1.5) ** 1.05);
      const players = state === "grace" || state === "starting" ? 0 : Math.min(left, wanted);
      left -= players;
      this.streams.push({
        at,
        id: hex(next),
        infohash: hex(next),
        engine: Math.floor(next() * scale.engines),
        state: state === "stalled" ? "playing" : state,
        players,
        waiting: state === "starting" ? 1 + Math.floor(next() * 3) : 0,
        rate: (RATES[Math.floor(next() * RATES.length)] ?? 4) * 1e6,
        formats: FORMATS[Math.floor(next() * FORMATS.length)] ?? [],
        createdAgo: (state === "starting" ? 2 + next() * 26 : 60 + next() ** 3 * 200_000) * 1000,
        startTook: 300 + next() ** 2 * 9000,
        peers: Math.floor(3 + next() ** 2 * 90),
        behind: Math.floor(8 + next() * 24),
        silentS: state === "stalled" ? 4 + next() * 20 : 0,
        splices: next() < 0.12 ? Math.ceil(next() * 5) : 0,
        seed: Math.floor(next() * 2 ** 31),
      });
    }
  }

  engineName(at: number): string {
    return `10.20.${Math.floor(at / 250)}.${(at % 250) + 2}:6878`;
  }

  private isOn(stream: Stream, now: number): boolean {
    const stopped = this.stopped.get(stream.id);
    if (stopped !== undefined) return false;
    // Some streams come and go, so that ends are seen.
    return stream.at < 40 || stream.at % 50 !== 0 || Math.floor((now - this.born) / 20_000 + stream.at) % 4 !== 0;
  }

  private engineOf(stream: Stream): number {
    return this.moved.get(stream.id) ?? stream.engine;
  }

  /** A value that wanders around 1. */
  private wave(stream: Stream, now: number, share: number): number {
    return 1 + share * Math.sin(now / 7000 + stream.seed) * Math.sin(now / 1900 + stream.seed * 3);
  }

  private players(stream: Stream, now: number): number {
    return stream.players === 0 ? 0 : Math.max(1, Math.round(stream.players * this.wave(stream, now / 8, 0.04)));
  }

  status(now: number): Fields {
    const sessions = this.streams.filter((stream) => this.isOn(stream, now)).map((stream) => this.session(stream, now));
    return {
      running: true,
      total_sessions: sessions.length,
      active_sessions: sessions.filter((session) => session["is_active"]).length,
      total_clients: sessions.reduce((sum, session) => sum + Number(session["client_count"]), 0),
      sessions,
    };
  }

  private session(stream: Stream, now: number): Fields {
    const [host, port] = this.engineName(this.engineOf(stream)).split(":");
    const created = this.born - stream.createdAgo;
    const isStarting = stream.state === "starting";
    const players = this.players(stream, now);
    const rate = Math.round(stream.rate * this.wave(stream, now, 0.03));
    const played = now - created;
    const windowS = isStarting ? 0 : Math.min(30, played / 1000);
    const bytes = Math.round((rate / 8) * (played / 1000));
    const exact = Math.ceil(stream.splices * 0.7);
    const live = Math.floor(now / 1000);
    return {
      stream_id: `${stream.id}|${stream.infohash.slice(0, 20)}`,
      ace_id: stream.id,
      engine_host: host,
      engine_port: Number(port),
      container_id: this.engineName(this.engineOf(stream)),
      playback_session_id: stream.infohash,
      is_live: true,
      is_active: players > 0,
      client_count: players,
      created_at: iso(created),
      started_at: isStarting ? null : iso(created + stream.startTook),
      ended_at: null,
      error: null,
      idle_seconds: 0,
      key: stream.infohash,
      infohash: stream.infohash,
      options: "",
      state: stream.state,
      shard: stream.at % 4,
      waiting_clients: stream.waiting,
      idle_since: stream.state === "grace" ? iso(now - 12_000) : null,
      last_media_at: isStarting ? null : iso(now - 400 - stream.silentS * 1000),
      bitrate_bps: isStarting ? 0 : rate,
      window_bytes: Math.round((rate / 8) * windowS),
      window_seconds: windowS,
      bytes_in: isStarting ? 0 : bytes,
      garbage_bytes: 0,
      continuity_errors: stream.splices > 3 ? 2 : 0,
      discontinuities: stream.splices - exact,
      failovers: stream.splices,
      splices: { exact, clock: stream.splices - exact, random_access: 0, lost_seconds: 0, lost_packets: 0, lost_bytes: 0, repeated_seconds: 0, repeated_packets: 0, repeated_bytes: 0 },
      formats: isStarting ? [] : stream.formats,
      channel: stream.at === 1 ? this.channel(stream, created) : null,
      is_encrypted: false,
      stat_url: `http://${host}:${port}/ace/stat/${stream.infohash}`,
      command_url: `http://${host}:${port}/ace/cmd/${stream.infohash}`,
      stat: {
        status: isStarting ? "prebuf" : "dl",
        peers: stream.peers,
        speed_down: stream.silentS > 0 ? 0 : Math.round((rate / 8192) * this.wave(stream, now, 0.2)),
        speed_up: Math.round((rate / 8192) * 0.15 * this.wave(stream, now + 500, 0.5)),
        downloaded: Math.round(bytes * 1.02),
        uploaded: Math.round(bytes * 0.2),
        progress: 100,
        livepos: isStarting ? null : { pos: String(live - stream.behind), last: String(live), live_first: String(live - 1800), live_last: String(live), first_ts: String(live - 60), last_ts: String(live), buffer_pieces: "15" },
      },
    };
  }

  /** The one channel of this appliance that has spare ids: its first could not be had any more. */
  private channel(stream: Stream, created: number): Fields {
    const first = stream.infohash.split("").reverse().join("");
    const ids = [first, stream.id, `infohash:${stream.infohash}`];
    const last_fallback = { from: first, to: stream.id, code: "content_not_found", detail: "the engine does not find it", at: iso(created + 30_000) };
    return { name: "Sports One", ids, id: stream.id, fallbacks: 1, last_fallback, race: "second" };
  }

  /** What lies where in a stream's window, and how it started. */
  timeline(key: string, now: number): Fields | null {
    const stream = this.streams.find((candidate) => candidate.infohash === key || candidate.id === key);
    if (!stream || !this.isOn(stream, now)) return null;
    const created = this.born - stream.createdAgo;
    const isStarting = stream.state === "starting";
    const held = isStarting ? 0 : Math.min(30, (now - created) / 1000);
    const access_points = Array.from({ length: Math.floor(held / 2) }, (_, at) => held - at * 2 - ((now / 1000) % 2)).filter((behind) => behind > 0);
    const moment = (behind: number) => ({ behind_seconds: behind, at: iso(now - behind * 1000), silent_seconds: null, splice: null, lost_seconds: null, repeated_seconds: null });
    const drift = (now / 1000 + stream.seed) % 20;
    const marks: Fields[] = [];
    if (stream.splices > 0) marks.push({ ...moment(5 + drift), kind: "splice", splice: stream.splices % 2 === 0 ? "clock" : "exact", lost_seconds: stream.splices % 2 === 0 ? 0.4 : null });
    if (stream.splices > 1) marks.push({ ...moment(5.5 + drift), kind: "silence", silent_seconds: 3.2 });
    if (stream.silentS > 0) marks.push({ ...moment(9), kind: "silence", silent_seconds: stream.silentS });
    const took = stream.startTook;
    const spans = [
      { name: "lease", from_ms: 0.4, took_ms: took * 0.02 },
      { name: "select", from_ms: 0.5, took_ms: 0.3 },
      { name: "engine_start", from_ms: took * 0.021, took_ms: took * 0.55 },
      { name: "first_byte", from_ms: took * 0.571, took_ms: took * 0.425 },
      { name: "first_client_byte", from_ms: took * 0.996, took_ms: took * 0.004 },
    ];
    const start = isStarting ? null : { asked_at: iso(created), took_ms: took, tries: 1, engine: this.engineName(stream.engine), fault: null, spans };
    return { key: stream.infohash, window_seconds: held, access_points, marks: marks.filter((mark) => Number(mark["behind_seconds"]) <= held), start };
  }

  /** What the engine calls it. */
  title(streamId: string): string | null {
    const stream = this.streams.find((candidate) => streamId.startsWith(candidate.id));
    return stream ? `Channel ${stream.at + 1}` : null;
  }

  /** Figures over time, as if this had gone on for a day. */
  past(seconds: number, now: number): Fields {
    const every = seconds <= 3600 ? 5 : 60;
    const at = Array.from({ length: Math.floor(seconds / every) }, (_, place) => Math.floor(now / 1000 / every) * every * 1000 - (Math.floor(seconds / every) - 1 - place) * every * 1000);
    const sum = (pick: (stream: Stream) => number) => this.streams.reduce((total, stream) => total + pick(stream), 0);
    const [players, streams] = [sum((stream) => stream.players), this.streams.length];
    const shards = Array.from({ length: 4 }, (_, shard) => this.streams.filter((stream) => stream.at % 4 === shard));
    const rate = (then: number, of: (stream: Stream) => number) => shards.reduce((total, mine, shard) => total + mine.reduce((one, stream) => one + of(stream), 0) * (1 + 0.1 * Math.cos(then / 40_000 + shard)), 0);
    const wave = (then: number, share: number) => 1 + share * Math.sin(then / 3_600_000) + share * 0.3 * Math.sin(then / 170_000);
    const column = (make: (then: number) => number) => at.map(make);
    return {
      every_seconds: every,
      at,
      players: column((then) => Math.round(players * wave(then, 0.06))),
      waiting: column((then) => Math.max(0, Math.round(2 * Math.sin(then / 90_000)))),
      streams: column((then) => Math.round(streams * wave(then, 0.02))),
      engines: column(() => this.scale.engines),
      engines_used: column((then) => Math.min(this.scale.engines, Math.round(streams * 0.8 * wave(then, 0.05)))),
      peers: column((then) => Math.round(sum((stream) => stream.peers) * wave(then, 0.2))),
      egress_bps: column((then) => rate(then, (stream) => stream.players * stream.rate)),
      ingress_bps: column((then) => rate(then, (stream) => stream.rate)),
      download_bps: column((then) => rate(then, (stream) => stream.rate * 1.02)),
      upload_bps: column((then) => rate(then, (stream) => stream.rate * 0.15)),
      join: this.observed("sluice_join_seconds", seconds, now),
      gap: this.observed("sluice_delivery_gap_seconds", seconds, now),
    };
  }

  /** What is counted on one shard. It goes by what never changes, so that counts only rise. */
  private shapes(shard: number): Shape[] {
    const players = this.streams.filter((stream) => stream.at % 4 === shard).reduce((sum, stream) => sum + stream.players, 0);
    return [
      { name: "sluice_join_seconds", per: 2 + players / 900, shares: [[0.001, 0.31], [0.002, 0.66], [0.005, 0.93], [0.01, 0.985], [0.02, 0.998], [0.05, 1]] },
      { name: "sluice_delivery_gap_seconds", per: players * 18, shares: [[0.02, 0.02], [0.05, 0.71], [0.1, 0.991], [0.15, 0.9985], [0.25, 0.9999], [0.5, 1]] },
      { name: "sluice_canary_delay_seconds", per: 95, shares: [[0.001, 0.4], [0.002, 0.95], [0.005, 0.999], [0.01, 1]] },
    ];
  }

  /** Seconds that this has gone on: since an hour before the world was born. */
  private lasted(now: number): number {
    return (now - this.born) / 1000 + 3600;
  }

  /** How often something had taken how long, minute by minute. */
  private observed(name: string, seconds: number, now: number): Fields {
    const shapes = [0, 1, 2, 3].flatMap((shard) => this.shapes(shard).filter((shape) => shape.name === name));
    const minutes = Math.min(60, Math.floor(seconds / 60));
    const at = Array.from({ length: minutes }, (_, place) => now - (minutes - place) * 60_000);
    const shares = [...(shapes[0]?.shares ?? []).map(([, share]) => share), 1];
    return {
      at,
      bounds: shapes[0]?.shares.map(([bound]) => bound) ?? [],
      counts: at.map((then) => shares.map((share) => shapes.reduce((sum, { per }) => sum + Math.floor(this.lasted(then) * per * share), 0))),
    };
  }

  /** Gives an engine nothing more: what it has moves to the next. */
  drain(engine: string, isDrained: boolean): boolean {
    const at = Array.from({ length: this.scale.engines }, (_, place) => place).find((place) => this.engineName(place) === engine);
    if (at === undefined) return false;
    if (!isDrained) this.drained.delete(engine);
    else {
      this.drained.add(engine);
      for (const stream of this.streams) if (this.engineOf(stream) === at) this.moved.set(stream.id, (at + 1) % this.scale.engines);
    }
    return true;
  }

  clients(key: string, now: number): Fields {
    const stream = this.streams.find((candidate) => candidate.infohash === key || candidate.id === key);
    if (!stream) return { clients: [], ended_clients: [] };
    const next = random(stream.seed);
    const client = (): Fields => {
      const behind = next() ** 4 * 24 + 0.3 + next() * 9;
      const since = now / 1000 - next() ** 2 * (stream.createdAgo / 1000);
      return {
        client_id: `${hex(next, 8)}-${hex(next, 4)}-4${hex(next, 3)}-a${hex(next, 3)}-${hex(next, 12)}`,
        ip_address: `192.168.${Math.floor(next() * 8)}.${Math.floor(next() * 253) + 1}`,
        user_agent: AGENTS[Math.floor(next() * AGENTS.length)],
        connected_at: since,
        last_active: now / 1000,
        worker_id: "mock:1",
        bytes_sent: Math.round((stream.rate / 8) * (now / 1000 - since)),
        stats_updated_at: now / 1000,
        shard: stream.at % 4,
        behind_bytes: Math.round((behind * stream.rate) / 8),
        behind_seconds: behind + Math.sin(now / 900 + behind * 9) * 0.2,
        rate_bps: Math.round(stream.rate * (0.92 + 0.16 * next())),
        skips: next() < 0.03 ? 1 : 0,
        skipped_bytes: 0,
      };
    };
    const isOn = this.isOn(stream, now);
    const clients = isOn ? Array.from({ length: this.players(stream, now) }, client) : [];
    const ended = Array.from({ length: Math.min(12, 2 + Math.floor(stream.players / 8)) }, (_, at) => ({
      ...client(),
      ended_at: now / 1000 - 20 - at * 31,
      reason: this.stopped.has(stream.id) ? "stopped" : REASONS[Math.floor(next() * REASONS.length)],
    }));
    return { clients, ended_clients: ended.reverse() };
  }

  engines(now: number): Fields[] {
    const carried = new Map<number, string[]>();
    for (const stream of this.streams) {
      if (!this.isOn(stream, now)) continue;
      const at = this.engineOf(stream);
      carried.set(at, [...(carried.get(at) ?? []), stream.id]);
    }
    return Array.from({ length: this.scale.engines }, (_, at) => {
      const [host, port] = this.engineName(at).split(":");
      const state = at % 97 === 13 ? "down" : at % 61 === 5 ? "suspect" : "healthy";
      const streams = state === "down" ? [] : (carried.get(at) ?? []);
      return {
        container_id: this.engineName(at),
        container_name: `engine-${host}-${port}`,
        host,
        port: Number(port),
        labels: {},
        forwarded: at % 250 === 0,
        first_seen: iso(this.born - 86_400_000),
        last_seen: iso(now - 1000),
        streams,
        health_status: state === "healthy" ? "healthy" : "unhealthy",
        last_health_check: iso(now - 1000 - (at % 5) * 800),
        last_stream_usage: streams.length > 0 ? iso(now - 500) : at % 3 === 0 ? iso(now - 3_600_000) : null,
        vpn_container: this.hasVpn && at % 5 !== 4 ? (at % 2 === 0 ? "gluetun-one" : "gluetun-two") : null,
        engine_variant: null,
        platform: "linux",
        version: at % 5 === 0 ? "3.2.11" : "3.2.13",
        forwarded_port: at % 250 === 0 ? 43_121 + at : null,
        cache_size_bytes: null,
        state,
        fault: state === "down" ? "connection refused" : state === "suspect" ? "a stream was silent" : null,
        leases: streams.length,
        is_fallback: false,
        is_drained: this.drained.has(this.engineName(at)),
      };
    });
  }

  /** Streams that ended, newest first: those that were stopped, and some that had ended before. */
  ended(): Fields[] {
    const next = random(23);
    const past = Array.from({ length: 24 }, (_, at) => ({ id: hex(next), reason: ENDS[Math.floor(next() * ENDS.length)] ?? "", endedAt: this.born - (at + 1) * 130_000 - next() * 90_000, lasted: 40_000 + next() ** 3 * 9_000_000, engine: Math.floor(next() * Math.max(1, this.scale.engines)) }));
    const row = (id: string, infohash: string, engine: number, startedAt: number, endedAt: number, reason: string): Fields => ({
      id: `${id}|${infohash.slice(0, 20)}`,
      key: id,
      key_type: "content_id",
      infohash,
      container_id: this.engineName(engine),
      started_at: iso(startedAt),
      ended_at: iso(endedAt),
      status: "ended",
      end_reason: reason,
      downloaded: Math.round(((endedAt - startedAt) / 1000) * 600_000),
      uploaded: Math.round(((endedAt - startedAt) / 1000) * 90_000),
    });
    const stopped = [...this.stopped].flatMap(([id, at]) => {
      const stream = this.streams.find((candidate) => candidate.id === id);
      return stream ? [row(id, stream.infohash, this.engineOf(stream), this.born - stream.createdAgo, at, "manual_stop_via_api")] : [];
    });
    return [...stopped.reverse(), ...(this.scale.streams === 0 ? [] : past.map(({ id, reason, endedAt, lasted, engine }) => row(id, id, engine, endedAt - lasted, endedAt, reason)))];
  }

  /** The last half hour of a stream's figures, one in ten seconds. */
  samples(streamId: string, now: number): Fields[] {
    const stream = this.streams.find((candidate) => streamId.startsWith(candidate.id));
    if (!stream) return [];
    return Array.from({ length: 180 }, (_, at) => {
      const then = now - (180 - at) * 10_000;
      return { ts: iso(then), peers: Math.round(stream.peers * this.wave(stream, then, 0.2)), speed_down: Math.round((stream.rate / 8192) * this.wave(stream, then, 0.25)), speed_up: Math.round((stream.rate / 8192) * 0.15 * this.wave(stream, then + 500, 0.5)) };
    });
  }

  /** What engines' containers use. */
  usage(now: number): [string, Fields][] {
    return Array.from({ length: this.scale.engines }, (_, at) => {
      const load = 6 + (at % 7) * 4 + 3 * Math.sin(now / 4000 + at);
      return [this.engineName(at), { cpu_percent: load, memory_usage: (180 + (at % 9) * 22) * 1048576, memory_limit: at % 3 === 0 ? 0 : 536870912, network_rx_bytes: 9e9 + at * 1e7, network_tx_bytes: 2e9, block_read_bytes: 1e8, block_write_bytes: 4e8 }];
    });
  }

  /** Counters that only ever rise, as if this had gone on since the world was born an hour ago. */
  exposition(now: number): string {
    const seconds = this.lasted(now);
    const on = this.streams.filter((stream) => this.isOn(stream, now));
    const lines: string[] = [];
    for (let shard = 0; shard < 4; shard += 1) {
      const mine = on.filter((stream) => stream.at % 4 === shard);
      const players = mine.reduce((sum, stream) => sum + this.players(stream, now), 0);
      const rate = this.streams.filter((stream) => stream.at % 4 === shard).reduce((sum, stream) => sum + (stream.players * stream.rate) / 8, 0);
      const source = this.streams.filter((stream) => stream.at % 4 === shard).reduce((sum, stream) => sum + stream.rate / 8, 0);
      const tag = `{shard="${shard}"}`;
      // What rises is the integral of something that wanders, so that it never falls.
      const spent = seconds + 4 * Math.sin(now / 40_000 + shard);
      const load = Math.min(0.9, 0.04 + this.streams.filter((stream) => stream.at % 4 === shard).reduce((sum, stream) => sum + stream.players, 0) / 6000);
      lines.push(
        `sluice_clients${tag} ${players}`,
        `sluice_clients_waiting${tag} ${mine.reduce((sum, stream) => sum + stream.waiting, 0)}`,
        `sluice_sessions${tag} ${mine.length}`,
        `sluice_client_bytes_total${tag} ${Math.round(rate * spent)}`,
        `sluice_engine_bytes_total${tag} ${Math.round(source * spent)}`,
        `sluice_tick_seconds${tag} ${load > 0.5 ? 0.1 : 0.05}`,
        `sluice_walk_busy_seconds_sum${tag} ${(load * spent).toFixed(3)}`,
        `sluice_inbox_messages${tag} 0`,
        `sluice_io_uring${tag} ${shard === 3 ? 0 : 1}`,
      );
      for (const { name, per, shares } of this.shapes(shard)) {
        for (const [bound, share] of shares) lines.push(`${name}_bucket{le="${bound}",shard="${shard}"} ${Math.floor(seconds * per * share)}`);
        lines.push(`${name}_bucket{le="+Inf",shard="${shard}"} ${Math.floor(seconds * per)}`);
      }
    }
    lines.push(
      `process_start_time_seconds ${Math.round(this.born / 1000) - 3600}`,
      `orch_downloaded_bytes_total ${Math.round(seconds * 4e6)}`,
      `orch_uploaded_bytes_total ${Math.round(seconds * 6e5)}`,
      'sluice_store_state{state="ok"} 1',
      "sluice_lease_requests_waiting 2",
      "sluice_task_panics_total 0",
      'sluice_requests_refused_total{shard="0",code="max_capacity"} 14',
      'sluice_requests_refused_total{shard="0",code="malformed_id"} 3',
    );
    return `${lines.join("\n")}\n`;
  }

  /** `null` when it moves, otherwise why not. */
  move(key: string, engine: string | null): { status: number; message: string } | null {
    const stream = this.streams.find((candidate) => candidate.infohash === key);
    if (!stream) return { status: 404, message: `Session ${key} not found` };
    if (stream.state !== "playing") return { status: 409, message: "only a session that plays and is watched can be moved" };
    const target = engine === null ? (this.engineOf(stream) + 1) % this.scale.engines : Array.from({ length: this.scale.engines }, (_, at) => at).find((at) => this.engineName(at) === engine);
    if (target === undefined) return { status: 404, message: "no such engine" };
    this.moved.set(stream.id, target);
    return null;
  }

  stop(key: string, now: number): boolean {
    const stream = this.streams.find((candidate) => candidate.infohash === key);
    if (!stream) return false;
    this.stopped.set(stream.id, now);
    return true;
  }
}
