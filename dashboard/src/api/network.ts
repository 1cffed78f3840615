// The API over HTTP, at the place the page itself came from.
import type { Api, Dated, Delivery, Standing } from "./api";
import { parse } from "./exposition";
import { readEngine } from "./engine";
import { readClient, readEndedClient, readHealth, readStream, readVersion, type Stream } from "./model";
import { aborted, failure, mapped, success, type Fault, type Outcome } from "./outcome";
import * as read from "./read";

/** The longest any answer may take, milliseconds. */
const DEADLINE_MS = 8000;
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

export class NetworkApi implements Api {
  /** `root` is where the API is: one above the panel. */
  constructor(
    private readonly root: URL,
    private readonly fetched: typeof fetch = (...call) => fetch(...call),
  ) {}

  url(path: string): string {
    return new URL(path, this.root).href;
  }

  playUrl(id: string, delivery: Delivery): string {
    const route = delivery === "hls" ? "ace/manifest.m3u8" : "ace/getstream";
    return this.url(`${route}?id=${encodeURIComponent(id)}`);
  }

  private async call(path: string, init: RequestInit, signal?: AbortSignal): Promise<Outcome<Answer>> {
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
    try {
      const response = await this.fetched(this.url(path), {
        ...init,
        headers: { ...PANEL_HEADER, ...init.headers },
        credentials: "same-origin",
        cache: "no-store",
        signal: either,
      });
      const body = await response.text();
      if (!response.ok) return failure(faultOf(response.status, body));
      return success({ body, at: read.time(response.headers.get("date")) ?? Date.now() });
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

  private async write(method: string, path: string, body?: unknown): Promise<Outcome<void>> {
    const init: RequestInit = { method };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { "Content-Type": "application/json" };
    }
    return mapped(await this.call(path, init), () => undefined);
  }

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
