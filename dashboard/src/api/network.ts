// The API over HTTP, at the place the page itself came from.
import { Addresses } from "./addresses";
import type { Api, Dated, Standing } from "./api";
import { parse } from "./exposition";
import { readEngine } from "./engine";
import { readBreakers, readFleet, readReprovision, readUsage, readVpn } from "./fleet";
import { EventReader, Gathered, type Followed } from "./follow";
import { readCounts, readEnded, readEntry, readSample, type LogFilter } from "./log";
import { readClient, readEndedClient, readHealth, readStream, readVersion, type Stream } from "./model";
import { aborted, failure, mapped, success, type Fault, type Outcome } from "./outcome";
import { readPast, readTimeline } from "./past";
import * as read from "./read";
import { PARTS, readImported, readLooping, readSettings, type Group, type Part, type Value } from "./settings";
import { readSlots, readTemplate, readVariant, writtenVariant, type Template, type Variant } from "./variant";

/** The longest any answer may take, milliseconds. */
const DEADLINE_MS = 8000;
/** Whoever follows hears at least a sign of life in a third of this, milliseconds. */
const SILENCE_MAX_MS = 45_000;
/** Engines are made and removed while the answer waits, files take their time. */
const LONG_DEADLINE_MS = 40_000;
const HOUR_MS = 3_600_000;
/** Writes from the panel carry this; no other origin can send it along with our cookie. */
const PANEL_HEADER = { "X-Sluice-Panel": "1" };

interface Answer {
  body: string;
  /** By the appliance's clock where it says so. */
  at: number;
}

/** The words of a refusal: `detail` as text or as the list of a 422, `error` and `message` of other shapes. */
export function faultOf(status: number, body: string): Fault {
  let raw: read.Fields | null = null;
  try {
    raw = read.fields(JSON.parse(body));
  } catch {
    // A proxy in between answers with a page; its status still says what happened.
  }
  const detail = raw?.["detail"];
  const inner = read.fields(detail);
  const fieldMessages: Record<string, string> = {};
  for (const entry of Array.isArray(detail) ? detail.map(read.fields) : []) {
    const place = Array.isArray(entry?.["loc"]) ? entry["loc"].at(-1) : undefined;
    const message = read.text(entry?.["msg"]);
    if (message !== null) fieldMessages[String(place ?? "")] = message;
  }
  const listed = Object.entries(fieldMessages).map(([field, message]) => (field ? `${field}: ${message}` : message));
  const message =
    read.text(detail) ??
    read.text(inner?.["message"]) ??
    (listed.length > 0 ? listed.join("; ") : null) ??
    read.text(raw?.["error"]) ??
    read.text(raw?.["message"]) ??
    `HTTP ${status}`;
  const fault: Fault = { kind: kindOf(status, message, raw), message, status };
  return listed.length > 0 ? { ...fault, fields: fieldMessages } : fault;
}

function kindOf(status: number, message: string, raw: read.Fields | null): Fault["kind"] {
  switch (status) {
    case 401:
      return "key_missing";
    case 403:
      return "key_wrong";
    case 404:
      // A route that is not there has no words of its own.
      return message === "Not Found" || raw === null ? "no_route" : "not_found";
    case 405:
      return "no_route";
    case 502:
    case 503:
    case 504:
      return raw === null ? "unreachable" : "refused";
    default:
      return status >= 500 ? "broken" : "refused";
  }
}

export class NetworkApi extends Addresses implements Api {
  constructor(
    root: URL,
    private readonly fetched: typeof fetch = (...call) => fetch(...call),
  ) {
    super(root);
  }

  private async call(path: string, init: RequestInit, signal?: AbortSignal, deadlineMs = DEADLINE_MS): Promise<Outcome<Answer>> {
    const answer = await this.answer(path, init, signal, deadlineMs, async (response) => ({
      body: await response.text(),
      at: read.time(response.headers.get("date")) ?? Date.now(),
    }));
    return answer;
  }

  private async answer<T>(path: string, init: RequestInit, signal: AbortSignal | undefined, deadlineMs: number, take: (response: Response) => Promise<T>): Promise<Outcome<T>> {
    const deadline = AbortSignal.timeout(deadlineMs);
    const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
    try {
      const response = await this.fetched(this.url(path), {
        ...init,
        headers: { ...PANEL_HEADER, ...init.headers },
        credentials: "same-origin",
        cache: "no-store",
        signal: either,
      });
      if (!response.ok) return failure(faultOf(response.status, await response.text()));
      return success(await take(response));
    } catch (error) {
      if (signal?.aborted) return aborted;
      const message = error instanceof Error ? error.message : String(error);
      return failure({ kind: deadline.aborted ? "timeout" : "unreachable", message });
    }
  }

  private async json<T>(
    path: string,
    signal: AbortSignal,
    reader: (value: unknown, at: number) => T,
  ): Promise<Outcome<T>> {
    const answer = await this.call(path, {}, signal);
    return mapped(answer, ({ body, at }) => reader(JSON.parse(body), at));
  }

  private async write<T = void>(method: string, path: string, body?: unknown, reader?: (value: unknown) => T): Promise<Outcome<T>> {
    const init: RequestInit = { method };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { "Content-Type": "application/json" };
    }
    return mapped(await this.call(path, init, undefined, LONG_DEADLINE_MS), ({ body: text }) => (reader ? reader(JSON.parse(text)) : (undefined as T)));
  }

  private file(path: string): Promise<Outcome<Blob>> {
    return this.answer(path, {}, undefined, LONG_DEADLINE_MS, (response) => response.blob());
  }

  async follow(everyS: number, from: string | null, onPlace: (place: string) => void, onTold: (told: Followed) => void, signal: AbortSignal): Promise<Fault | null> {
    const silence = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const isHeard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MAX_MS);
    };
    isHeard();
    try {
      const headers: Record<string, string> = { ...PANEL_HEADER, Accept: "text/event-stream" };
      if (from !== null) headers["Last-Event-ID"] = from;
      const response = await this.fetched(this.url(`events/stream?figures=${Math.round(everyS)}`), { headers, credentials: "same-origin", cache: "no-store", signal: AbortSignal.any([signal, silence.signal]) });
      if (!response.ok) return faultOf(response.status, await response.text());
      if (!response.body) return { kind: "broken", message: "the answer has no body" };
      const [body, decoder, reader, gathered] = [response.body.getReader(), new TextDecoder(), new EventReader(), new Gathered()];
      for (;;) {
        const { done, value } = await body.read();
        if (done) return { kind: "unreachable", message: "the connection ended" };
        isHeard();
        for (const { event, id, data } of reader.push(decoder.decode(value, { stream: true }))) {
          if (id !== null) onPlace(id);
          if (event === "look") onTold({ kind: "look", look: gathered.take(JSON.parse(data)) });
          else if (event === "missed") onTold({ kind: "missed" });
          else if (event !== "ready") onTold({ kind: "change", what: event, data: JSON.parse(data) });
        }
      }
    } catch (error) {
      if (signal.aborted) return null;
      const message = error instanceof Error ? error.message : String(error);
      const isOurs = error instanceof SyntaxError || (error instanceof Error && error.constructor === Error);
      return { kind: silence.signal.aborted ? "timeout" : isOurs ? "broken" : "unreachable", message };
    } finally {
      clearTimeout(timer);
    }
  }

  log = ({ type, since, engine, stream, limit, offset }: LogFilter, signal: AbortSignal) => {
    const query = new URLSearchParams({ limit: String(limit), offset: String(offset) });
    if (type) query.set("event_type", type);
    if (since !== null) query.set("since", new Date(since).toISOString());
    if (engine) query.set("container_id", engine);
    if (stream) query.set("stream_id", stream);
    return this.json(`events?${query.toString()}`, signal, (value) => read.list(value, "events").map(readEntry));
  };
  logCounts = (signal: AbortSignal) => this.json("events/stats", signal, readCounts);
  ended = (signal: AbortSignal) => this.json("streams?status=ended", signal, (value) => read.list(value, "streams").map(readEnded).reverse());
  samples = (streamId: string, signal: AbortSignal) => {
    const since = encodeURIComponent(new Date(Date.now() - HOUR_MS).toISOString());
    return this.json(`streams/${encodeURIComponent(streamId)}/stats?since=${since}`, signal, (value) => read.list(value, "samples").map(readSample));
  };

  timeline = (key: string, signal: AbortSignal) => this.json(`proxy/sessions/${encodeURIComponent(key)}/timeline`, signal, readTimeline);
  streamTitle = (streamId: string, signal: AbortSignal) =>
    this.json(`streams/${encodeURIComponent(streamId)}/extended-stats`, signal, (value) => read.label(read.fields(value)?.["title"]));
  past = (seconds: number, signal: AbortSignal) => this.json(`metrics/history?window_seconds=${seconds}`, signal, readPast);

  fleet = (signal: AbortSignal) => this.json("orchestrator/status", signal, readFleet);
  breakers = (signal: AbortSignal) => this.json("health/status", signal, readBreakers);
  resetBreakers = () => this.write("POST", "health/circuit-breaker/reset");
  usage = (signal: AbortSignal) =>
    this.json("engines/stats/all", signal, (value) => new Map(Object.entries(read.demanded(value, "usage")).map(([id, usage]) => [id, readUsage(usage)])));
  engineLog = (id: string, signal: AbortSignal) =>
    this.json(`engines/${encodeURIComponent(id)}/log`, signal, (value) => read.list(read.demanded(value, "log")["lines"], "log").map(String));
  vpn = (signal: AbortSignal) => this.json("vpn/status", signal, readVpn);
  addEngine = () => this.write("POST", "provision/acestream", {}, (value) => read.label(read.demanded(value, "engine")["container_name"]) ?? "");
  drainEngine = (id: string, isDrained: boolean) => this.write(isDrained ? "POST" : "DELETE", `engines/${encodeURIComponent(id)}/drain`);
  removeEngine = (id: string) => this.write("DELETE", `containers/${encodeURIComponent(id)}`);
  scale = (count: number) => this.write("POST", `scale/${count}`, undefined, (value) => read.count(read.demanded(value, "scale")["target"]));
  reprovision = () => this.write("POST", "custom-variant/reprovision");
  reprovisioning = (signal: AbortSignal) => this.json("custom-variant/reprovision/status", signal, readReprovision);

  settings = (signal: AbortSignal) => this.json("settings", signal, readSettings);
  changeSettings = (group: Group, values: Record<string, Value>) => {
    const path = { proxy: "proxy/config", loop_detection: "stream-loop-detection/config", engine: "settings/engine", orchestrator: "settings/orchestrator" }[group];
    return this.write("POST", path, values);
  };
  exportSettings = () => this.file("settings/export");
  async importSettings(file: Blob, parts: readonly Part[]) {
    const query = PARTS.map((part) => `import_${part}=${parts.includes(part)}`).join("&");
    const init = { method: "POST", headers: { "Content-Type": "application/zip" }, body: file };
    return mapped(await this.call(`settings/import?${query}`, init, undefined, LONG_DEADLINE_MS), ({ body }) => readImported(JSON.parse(body)));
  }
  looping = (signal: AbortSignal) => this.json("looping-streams", signal, readLooping);
  unblock = (id: string | null) => (id === null ? this.write("POST", "looping-streams/clear") : this.write("DELETE", `looping-streams/${encodeURIComponent(id)}`));

  platform = (signal: AbortSignal) => this.json("custom-variant/platform", signal, (value) => read.label(read.demanded(value, "platform")["platform"]));
  variant = (signal: AbortSignal) => this.json("custom-variant/config", signal, readVariant);
  saveVariant = (variant: Variant) => this.write("POST", "custom-variant/config", writtenVariant(variant));
  slots = (signal: AbortSignal) => this.json("custom-variant/templates", signal, readSlots);
  template = (slot: number, signal: AbortSignal) => this.json(`custom-variant/templates/${slot}`, signal, readTemplate);
  saveTemplate = (slot: number, { name, variant }: Template) => this.write("POST", `custom-variant/templates/${slot}`, { name, config: writtenVariant(variant) });
  renameTemplate = (slot: number, name: string) => this.write("PATCH", `custom-variant/templates/${slot}/rename`, { name });
  removeTemplate = (slot: number) => this.write("DELETE", `custom-variant/templates/${slot}`);
  activateTemplate = (slot: number) => this.write("POST", `custom-variant/templates/${slot}/activate`);
  exportTemplate = (slot: number) => this.file(`custom-variant/templates/${slot}/export`);
  importTemplate = (slot: number, text: string) => this.write("POST", `custom-variant/templates/${slot}/import`, { json_data: text });

  standing = (signal: AbortSignal) =>
    this.json("panel/session", signal, (value): Standing => {
      const raw = read.demanded(value, "session");
      return { needsKey: raw["needs_key"] !== false, readsNeedKey: raw["reads_need_key"] === true, isSignedIn: raw["is_signed_in"] === true };
    });
  signIn = (key: string) => this.write("POST", "panel/session", { key });
  signOut = () => this.write("DELETE", "panel/session");
  version = (signal: AbortSignal) => this.json("version", signal, readVersion);
  health = (signal: AbortSignal) => this.json("health", signal, readHealth);

  streams = (signal: AbortSignal) =>
    this.json("proxy/status", signal, (value, at): Dated<Stream[]> => {
      const sessions = read.list(read.demanded(value, "status")["sessions"], "sessions");
      return { value: sessions.map((session) => readStream(session, at)), at };
    });

  async figures(signal: AbortSignal) {
    const answer = await this.call("metrics", { headers: { Accept: "text/plain" } }, signal);
    return mapped(answer, ({ body, at }) => ({ value: parse(body), at }));
  }

  engines = (signal: AbortSignal) =>
    this.json("engines", signal, (value, at) => ({ value: read.list(value, "engines").map(readEngine), at }));

  clients = (key: string, signal: AbortSignal) =>
    this.json(`proxy/sessions/${encodeURIComponent(key)}/clients`, signal, (value) => {
      const raw = read.demanded(value, "players");
      const ended = Array.isArray(raw["ended_clients"]) ? raw["ended_clients"] : [];
      return { clients: read.list(raw["clients"], "players").map(readClient), ended: ended.map(readEndedClient) };
    });

  async operations(signal: AbortSignal): Promise<Outcome<ReadonlySet<string> | null>> {
    const outcome = await this.json("openapi.json", signal, (value) => {
      const paths = read.demanded(read.demanded(value, "description")["paths"], "paths");
      const found = new Set<string>();
      for (const [path, item] of Object.entries(paths)) {
        for (const method of Object.keys(read.fields(item) ?? {})) found.add(`${method.toUpperCase()} ${path}`);
      }
      return found as ReadonlySet<string>;
    });
    const isUnsaid = outcome.status === "error" && outcome.fault.kind === "no_route";
    return isUnsaid ? success(null) : outcome;
  }

  move = (key: string, engine: string | null) =>
    this.write("POST", `proxy/sessions/${encodeURIComponent(key)}/move`, {
      ...(engine === null ? {} : { engine }),
      reason: "asked for in the panel",
    });

  stop = (stream: Stream) => this.write("DELETE", `streams/${encodeURIComponent(stream.streamId ?? stream.key)}`);
}
