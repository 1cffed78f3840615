// What is wrong right now, from what was read and nothing else. The overview shows what is not in order, the doctor all of it.
// A check whose source has no value is `unknown`, never in order.
import { quantile } from "../api/exposition";
import { t, type Message } from "../messages";
import type { History } from "./history";
import type { LiveState } from "./live";

export type Level = "bad" | "warn" | "info" | "ok" | "unknown";

export interface Check {
  id: string;
  level: Level;
  text: Message;
  params?: Record<string, string | number>;
  remedy?: Message;
  /** A page of the panel where it can be looked at. */
  to?: string;
}

const ORDER: Record<Level, number> = { bad: 0, warn: 1, unknown: 2, info: 3, ok: 4 };
/** A start that takes longer than engines usually need, milliseconds. */
const START_SLOW_MS = 20_000;
const TICK_STRETCHED_S = 0.15;
const CANARY_LATE_S = 0.05;

export function checks(state: LiveState, history: History, now: number): Check[] {
  const found = [
    ...engineChecks(state),
    ...streamChecks(state, now + state.clockOffset),
    ...shardChecks(state, history),
    ...serviceChecks(state),
  ];
  return found.sort((one, other) => ORDER[one.level] - ORDER[other.level]);
}

function engineChecks({ engines: { value } }: LiveState): Check[] {
  const to = "engines";
  if (!value) return [{ id: "engines", level: "unknown", text: "check.engines.unknown", to }];
  if (value.length === 0) {
    return [{ id: "engines", level: "bad", text: "check.engines.none", remedy: "remedy.engines.none", to }];
  }
  const down = value.filter((engine) => engine.state === "down" || engine.state === "unhealthy");
  const suspect = value.filter((engine) => engine.state === "suspect");
  const found: Check[] = [];
  const total = value.length;
  if (down.length > 0) {
    const level = down.length === total ? "bad" : "warn";
    const params = { n: down.length, total, names: named(down.map((engine) => engine.authority ?? engine.id)) };
    found.push({ id: "engines.down", level, text: "check.engines.down", params, remedy: "remedy.engines.down", to });
  }
  if (suspect.length > 0) {
    const params = { n: suspect.length, names: named(suspect.map((engine) => engine.authority ?? engine.id)) };
    found.push({ id: "engines.suspect", level: "warn", text: "check.engines.suspect", params, to });
  }
  if (found.length === 0) {
    found.push({ id: "engines", level: "ok", text: "check.engines.ok", params: { n: total }, to });
  }
  return found;
}

function named(names: string[]): string {
  return names.length <= 3 ? names.join(", ") : `${names.slice(0, 3).join(", ")} …`;
}

function streamChecks({ streams: { value } }: LiveState, now: number): Check[] {
  if (!value) return [{ id: "streams", level: "unknown", text: "check.streams.unknown" }];
  const of = (state: string) => value.filter((stream) => stream.state === state);
  const players = (state: string) => of(state).reduce((sum, stream) => sum + (stream.players ?? 0), 0);
  const slow = of("starting").filter((stream) => now - (stream.createdAt ?? now) > START_SLOW_MS).length;
  const found: Check[] = [];
  const add = (id: string, level: Level, text: Message, n: number, state: string, remedy: Message) => {
    if (n > 0) found.push({ id, level, text, params: { n, players: t("players.shown", { n: players(state) }) }, remedy, to: `streams?state=${state}` });
  };
  add("streams.stalled", "bad", "check.streams.stalled", of("stalled").length, "stalled", "remedy.streams.stalled");
  add("streams.recovering", "warn", "check.streams.recovering", of("recovering").length, "recovering", "remedy.streams.recovering");
  add("streams.slow", "warn", "check.streams.slow", slow, "starting", "remedy.streams.slow");
  if (found.length === 0) {
    found.push({ id: "streams", level: "ok", text: "check.streams.ok", params: { n: value.length }, to: "streams" });
  }
  return found;
}

function shardChecks({ figures: { value }, health }: LiveState, history: History): Check[] {
  if (!value) return [{ id: "shards", level: "unknown", text: "check.shards.unknown" }];
  const found: Check[] = [];
  const epoll = (health.value?.shards ?? []).filter((shard) => shard.driver === "epoll").length;
  if (health.value === null) found.push({ id: "driver", level: "unknown", text: "check.driver.unknown" });
  else if (epoll > 0) {
    found.push({ id: "driver", level: "info", text: "check.driver.epoll", params: { n: epoll }, remedy: "remedy.driver.epoll" });
  } else found.push({ id: "driver", level: "ok", text: "check.driver.ok" });

  const tick = Math.max(0, ...value.all("sluice_tick_seconds").map((sample) => sample.value));
  const isStretched = tick >= TICK_STRETCHED_S;
  found.push({
    id: "tick",
    level: isStretched ? "warn" : "ok",
    text: isStretched ? "check.tick.long" : "check.tick.ok",
    params: { ms: Math.round(tick * 1000) },
    ...(isStretched ? { remedy: "remedy.tick" as const } : {}),
  });

  const canary = value.histogram("sluice_canary_delay_seconds");
  const late = canary && quantile(canary, 0.99);
  const isLate = late !== null && late > CANARY_LATE_S;
  if (late !== null) {
    found.push({
      id: "canary",
      level: isLate ? "warn" : "ok",
      text: isLate ? "check.canary.late" : "check.canary.ok",
      params: { ms: Number.isFinite(late) ? Math.ceil(late * 1000) : "> 60000" },
      ...(isLate ? { remedy: "remedy.canary" as const } : {}),
    });
  }
  const gap = history.recent("gap", value.histogram("sluice_delivery_gap_seconds"));
  const longest = gap && quantile(gap.histogram, 0.999);
  if (longest !== null && longest > 1) {
    const ms = Number.isFinite(longest) ? Math.ceil(longest * 1000) : "> 60000";
    found.push({ id: "gap", level: "warn", text: "check.gap.long", params: { ms }, remedy: "remedy.gap" });
  }
  return found;
}

const STORE: Record<string, { level: Level; text: Message; remedy?: Message }> = {
  ok: { level: "ok", text: "check.store.ok" },
  memory: { level: "info", text: "check.store.memory", remedy: "remedy.store.memory" },
  failing: { level: "bad", text: "check.store.failing", remedy: "remedy.store.failing" },
  unavailable: { level: "bad", text: "check.store.unavailable", remedy: "remedy.store.failing" },
};

function serviceChecks({ figures: { value } }: LiveState): Check[] {
  if (!value) return [];
  const found: Check[] = [];
  const standing = value.all("sluice_store_state").find((sample) => sample.value === 1)?.labels["state"];
  const store = standing === undefined ? undefined : STORE[standing];
  if (store) found.push({ id: "store", ...store });

  const waiting = value.sum("sluice_lease_requests_waiting") ?? 0;
  if (waiting > 0) {
    found.push({ id: "leases", level: "warn", text: "check.leases.waiting", params: { n: waiting }, remedy: "remedy.leases", to: "engines" });
  }
  const bugs = (value.sum("sluice_task_panics_total") ?? 0) + (value.sum("sluice_clients_ended_total", { reason: "overrun" }) ?? 0);
  found.push(
    bugs > 0
      ? { id: "bugs", level: "bad", text: "check.bugs.some", params: { n: bugs }, remedy: "remedy.bugs" }
      : { id: "bugs", level: "ok", text: "check.bugs.none" },
  );
  for (const [code, count] of value.by("sluice_requests_refused_total", "code")) {
    if (count > 0) {
      found.push({ id: `refused.${code}`, level: "info", text: "check.refused", params: { n: count, code }, remedy: "remedy.refused" });
    }
  }
  return found;
}
