// What an invented appliance remembers: settings, templates, its log, and the fleet of engines. Refusals have the words of a real one.
import type { Fields } from "../read";
import type { Value } from "../settings";
import { random } from "./world";

export interface Refusal {
  status: number;
  message: string;
}

const iso = (milliseconds: number) => new Date(milliseconds).toISOString();

type Row = [group: string, name: string, kind: string, value: Value, bounds: [number | null, number | null] | string[], acts: boolean, variable: string];

const SETTINGS: Row[] = [
  ["proxy", "initial_data_wait_timeout", "integer", 10, [1, 60], false, "PROXY_INITIAL_DATA_WAIT_TIMEOUT"],
  ["proxy", "initial_data_check_interval", "number", 0.2, [0.1, 2], false, "PROXY_INITIAL_DATA_CHECK_INTERVAL"],
  ["proxy", "no_data_timeout_checks", "integer", 60, [5, 600], true, "PROXY_NO_DATA_TIMEOUT_CHECKS"],
  ["proxy", "no_data_check_interval", "number", 1, [0.01, 1], true, "PROXY_NO_DATA_CHECK_INTERVAL"],
  ["proxy", "connection_timeout", "integer", 10, [5, 60], false, "PROXY_CONNECTION_TIMEOUT"],
  ["proxy", "stream_timeout", "integer", 60, [10, 300], false, "PROXY_STREAM_TIMEOUT"],
  ["proxy", "channel_shutdown_delay", "integer", 5, [0, 3600], true, "PROXY_GRACE_PERIOD"],
  ["proxy", "max_streams_per_engine", "integer", 3, [1, 20], true, "MAX_STREAMS_PER_ENGINE"],
  ["proxy", "join_behind_s", "number", 10, [0, 25], true, "JOIN_BEHIND_S"],
  ["proxy", "stream_mode", "choice", "TS", ["TS", "HLS"], true, "PROXY_STREAM_MODE"],
  ["proxy", "hls_max_segments", "integer", 20, [5, 100], false, "HLS_MAX_SEGMENTS"],
  ["proxy", "hls_initial_segments", "integer", 3, [1, 10], false, "HLS_INITIAL_SEGMENTS"],
  ["proxy", "hls_window_size", "integer", 6, [3, 20], false, "HLS_WINDOW_SIZE"],
  ["proxy", "hls_buffer_ready_timeout", "integer", 30, [5, 120], false, "HLS_BUFFER_READY_TIMEOUT"],
  ["proxy", "hls_first_segment_timeout", "integer", 30, [5, 120], false, "HLS_FIRST_SEGMENT_TIMEOUT"],
  ["proxy", "hls_initial_buffer_seconds", "integer", 10, [5, 60], false, "HLS_INITIAL_BUFFER_SECONDS"],
  ["proxy", "hls_max_initial_segments", "integer", 10, [1, 20], false, "HLS_MAX_INITIAL_SEGMENTS"],
  ["proxy", "hls_segment_fetch_interval", "number", 0.5, [0.1, 2], false, "HLS_SEGMENT_FETCH_INTERVAL"],
  ["loop_detection", "enabled", "boolean", false, [null, null], true, "STREAM_LOOP_DETECTION_ENABLED"],
  ["loop_detection", "threshold_seconds", "integer", 3600, [60, null], true, "STREAM_LOOP_DETECTION_THRESHOLD_S"],
  ["loop_detection", "check_interval_seconds", "integer", 10, [5, null], true, "STREAM_LOOP_CHECK_INTERVAL_S"],
  ["loop_detection", "retention_minutes", "integer", 0, [0, null], true, "STREAM_LOOP_RETENTION_MINUTES"],
  ["engine", "min_replicas", "integer", 2, [0, 50], true, "MIN_REPLICAS"],
  ["engine", "max_replicas", "integer", 6, [1, 100], true, "MAX_REPLICAS"],
  ["engine", "auto_delete", "boolean", true, [null, null], true, "AUTO_DELETE"],
  ["engine", "engine_variant", "choice", "krinkuto11-amd64", ["krinkuto11-amd64", "jopsis-amd64", "jopsis-arm32", "jopsis-arm64"], true, "ENGINE_VARIANT"],
  ["engine", "use_custom_variant", "boolean", false, [null, null], true, ""],
  ["orchestrator", "debug_mode", "boolean", false, [null, null], true, "DEBUG_MODE"],
  ["orchestrator", "otlp_endpoint", "text", "", [null, null], true, "OTLP_ENDPOINT"],
];

/** Values of the environment of the mock. */
const ENVIRONMENT: Record<string, Value> = { max_replicas: 20, channel_shutdown_delay: 12 };

const PARAMETERS: [string, string, Value, boolean][] = [
  ["--client-console", "flag", true, true],
  ["--bind-all", "flag", true, true],
  ["--service-remote-access", "flag", false, false],
  ["--allow-user-config", "flag", false, false],
  ["--stats-report-peers", "flag", false, false],
  ["--access-token", "string", "", false],
  ["--service-access-token", "string", "", false],
  ["--cache-dir", "path", "~/.ACEStream", false],
  ["--log-file", "path", "", false],
  ["--live-cache-type", "string", "memory", true],
  ["--live-cache-size", "bytes", 268435456, true],
  ["--vod-cache-type", "string", "disk", true],
  ["--vod-cache-size", "bytes", 536870912, true],
  ["--vod-drop-max-age", "int", 0, false],
  ["--max-file-size", "bytes", 2147483648, true],
  ["--live-buffer", "int", 10, true],
  ["--vod-buffer", "int", 5, true],
  ["--refill-buffer-interval", "int", 5, true],
  ["--max-connections", "int", 200, true],
  ["--max-peers", "int", 40, true],
  ["--max-upload-slots", "int", 4, true],
  ["--auto-slots", "int", 1, true],
  ["--download-limit", "int", 0, false],
  ["--upload-limit", "int", 0, false],
  ["--port", "int", 8621, false],
  ["--webrtc-allow-outgoing-connections", "int", 0, false],
  ["--webrtc-allow-incoming-connections", "int", 0, false],
  ["--stats-report-interval", "int", 60, true],
  ["--slots-manager-use-cpu-limit", "int", 0, false],
  ["--core-skip-have-before-playback-pos", "int", 0, false],
  ["--core-dlr-periodic-check-interval", "int", 10, true],
  ["--check-live-pos-interval", "int", 10, true],
  ["--log-debug", "int", 0, false],
  ["--log-max-size", "bytes", 10485760, true],
  ["--log-backup-count", "int", 3, true],
];

function variant(): Fields {
  return {
    enabled: false,
    platform: "amd64",
    arm_version: "3.2.13",
    memory_limit: null,
    parameters: PARAMETERS.map(([name, type, value, enabled]) => ({ name, type, value, enabled })),
    torrent_folder_mount_enabled: false,
    torrent_folder_host_path: null,
    torrent_folder_container_path: "/root/.ACEStream/collected_torrent_files",
  };
}

const EVENTS: [string, string, string][] = [
  ["stream", "started", "stream {s} started"],
  ["stream", "ended", "stream {s} ended: client_left"],
  ["stream", "failed", "a play of {s} failed before any media came: content_not_found"],
  ["engine", "unhealthy", "engine {e} does not answer"],
  ["engine", "healthy", "engine {e} answers again"],
  ["engine", "created", "engine {e} started by hand"],
  ["system", "storage_recovered", "the state is stored again"],
  ["system", "storage_failed", "the state cannot be stored; playing goes on"],
];

export class Office {
  private readonly changed = new Map<string, Value>();
  private current = variant();
  private readonly templates = new Map<number, { name: string; config: Fields }>([
    [1, { name: "Living room", config: variant() }],
    [2, { name: "Small host", config: { ...variant(), memory_limit: "512m" } }],
  ]);
  private active: number | null = 1;
  private events: Fields[] = [];
  private lastEvent = 0;
  private looping = new Map<string, string>(["c", "d", "e"].map((digit, at) => [digit.repeat(40), iso(Date.now() - (at + 1) * 1_800_000)]));
  private work: { at: number; total: number } | null = null;
  readonly added: string[] = [];
  readonly removed = new Set<string>();

  constructor(
    born: number,
    private readonly engines: number,
    /** After how many engines replacing them fails. */
    private readonly renewable = Number.POSITIVE_INFINITY,
  ) {
    const next = random(11);
    for (let at = 0; at < 240; at += 1) {
      const [type, category, message] = EVENTS[Math.floor(next() ** 2 * EVENTS.length)] ?? EVENTS[0]!;
      const stream = Array.from({ length: 40 }, () => Math.floor(next() * 16).toString(16)).join("");
      const engine = `10.20.0.${2 + Math.floor(next() * Math.min(250, Math.max(1, engines)))}:6878`;
      const reason = category === "ended" ? { reason: next() < 0.7 ? "empty_timeout" : "failover_exhausted" } : category === "failed" ? { reason: "content_not_found" } : {};
      this.record(type, category, message.replace("{s}", stream.slice(0, 12)).replace("{e}", engine), { engine, stream: type === "stream" ? stream : null, details: reason }, born - (240 - at) * 47_000);
    }
  }

  record(type: string, category: string, message: string, about: { engine?: string | null; stream?: string | null; details?: Fields }, at = Date.now()): Fields {
    this.lastEvent += 1;
    const entry = { id: this.lastEvent, timestamp: iso(at), event_type: type, category, message, details: about.details ?? {}, container_id: about.engine ?? null, stream_id: about.stream ?? null };
    this.events = [entry, ...this.events].slice(0, 1000);
    return entry;
  }

  log(type: string, since: number | null, engine: string, stream: string, limit: number, offset: number): Fields[] {
    const is = (event: Fields) =>
      (type === "" || event["event_type"] === type) &&
      (since === null || Date.parse(String(event["timestamp"])) >= since) &&
      (engine === "" || event["container_id"] === engine) &&
      (stream === "" || event["stream_id"] === stream);
    return this.events.filter(is).slice(offset, offset + limit);
  }

  counts(): Fields {
    const by: Record<string, number> = { engine: 0, stream: 0, vpn: 0, health: 0, system: 0 };
    for (const event of this.events) by[String(event["event_type"])] = (by[String(event["event_type"])] ?? 0) + 1;
    return { total: this.events.length, by_type: by, oldest: null, newest: null };
  }

  private held(name: string): Value {
    const row = SETTINGS.find((candidate) => candidate[1] === name);
    return this.changed.get(name) ?? ENVIRONMENT[name] ?? row?.[3] ?? 0;
  }

  settings(): Fields {
    const settings = SETTINGS.map(([group, name, kind, value, bounds, acts, variable]) => {
      const [min, max] = typeof bounds[0] === "string" ? [null, null] : (bounds as [number | null, number | null]);
      const source = this.changed.has(name) ? "api" : name in ENVIRONMENT ? "environment" : "default";
      return { group, name, kind, value: this.held(name), source, default: value, min, max, choices: typeof bounds[0] === "string" ? bounds : [], acts, variables: variable ? [variable] : [] };
    });
    return { is_pinned: false, settings };
  }

  change(group: string, values: Record<string, Value>): Refusal | null {
    for (const [name, value] of Object.entries(values)) {
      const row = SETTINGS.find((candidate) => candidate[0] === group && candidate[1] === name);
      if (!row || typeof row[4][0] === "string") continue;
      const [min, max] = row[4] as [number | null, number | null];
      const isOut = typeof value === "number" && ((min !== null && value < min) || (max !== null && value > max));
      if (isOut) return { status: 400, message: `${name} must be between ${min} and ${max}` };
    }
    const number = (name: string) => Number(values[name] ?? this.held(name));
    if (group === "engine" && number("min_replicas") > number("max_replicas")) return { status: 400, message: "min_replicas must be <= max_replicas" };
    for (const [name, value] of Object.entries(values)) this.changed.set(name, value);
    if ("use_custom_variant" in values) this.current = { ...this.current, enabled: values["use_custom_variant"] };
    return null;
  }

  loops(): Fields {
    return { stream_ids: [...this.looping.keys()], streams: Object.fromEntries(this.looping), details: {}, retention_minutes: 0 };
  }

  unblock(id: string | null): void {
    if (id === null) this.looping.clear();
    else this.looping.delete(id);
  }

  variant(): Fields {
    return structuredClone(this.current);
  }

  private fault(config: Fields): Refusal | null {
    const limit = config["memory_limit"];
    if (typeof limit === "string" && !/^\d{1,15}[bkmg]?$/i.test(limit)) return { status: 422, message: "memory_limit must be a number with b, k, m or g between 32m and 128g, or 0" };
    if (config["torrent_folder_mount_enabled"] === true && !String(config["torrent_folder_host_path"] ?? "").startsWith("/")) return { status: 422, message: "torrent_folder_host_path must be an absolute path when the mount is enabled" };
    for (const parameter of config["parameters"] as Fields[]) {
      const isNumber = parameter["type"] === "int" || parameter["type"] === "bytes";
      if (parameter["enabled"] && isNumber && !Number.isInteger(parameter["value"])) return { status: 400, message: `Invalid configuration: Parameter ${String(parameter["name"])} expects integer value` };
      if (parameter["enabled"] && typeof parameter["value"] === "string" && parameter["value"].includes(" ")) return { status: 400, message: `Invalid configuration: Parameter ${String(parameter["name"])} may have no spaces on amd64` };
    }
    return null;
  }

  saveVariant(config: Fields): Refusal | null {
    const fault = this.fault(config);
    if (fault) return fault;
    this.current = structuredClone(config);
    this.changed.set("use_custom_variant", config["enabled"] === true);
    const active = this.active === null ? undefined : this.templates.get(this.active);
    if (active) active.config = structuredClone(config);
    return null;
  }

  slots(): Fields {
    const templates = Array.from({ length: 10 }, (_, at) => ({ slot_id: at + 1, name: this.templates.get(at + 1)?.name ?? `Template ${at + 1}`, exists: this.templates.has(at + 1) }));
    return { templates, active_template_id: this.active };
  }

  template(slot: number): Fields | null {
    const found = this.templates.get(slot);
    return found ? { slot_id: slot, ...structuredClone(found) } : null;
  }

  saveTemplate(slot: number, name: string, config: Fields): Refusal | null {
    const fault = this.fault(config);
    if (fault) return fault;
    this.templates.set(slot, { name, config: structuredClone(config) });
    if (this.active === slot) this.current = { ...structuredClone(config), enabled: this.current["enabled"] };
    return null;
  }

  rename(slot: number, name: string): Refusal | null {
    const found = this.templates.get(slot);
    if (!found) return { status: 404, message: `Template ${slot} not found or rename failed` };
    if (name.trim() === "") return { status: 400, message: "Template name cannot be empty" };
    found.name = name.trim();
    return null;
  }

  remove(slot: number): Refusal | null {
    if (slot === this.active) return { status: 400, message: "Cannot delete the currently active template" };
    return this.templates.delete(slot) ? null : { status: 404, message: `Template ${slot} not found` };
  }

  activate(slot: number): Refusal | null {
    const found = this.templates.get(slot);
    if (!found) return { status: 404, message: `Template ${slot} not found` };
    this.active = slot;
    this.current = { ...structuredClone(found.config), enabled: this.current["enabled"] };
    return null;
  }

  importTemplate(slot: number, text: string): Refusal | null {
    let raw: Fields;
    try {
      raw = JSON.parse(text) as Fields;
    } catch (error) {
      return { status: 400, message: `Invalid JSON: ${String(error)}` };
    }
    if (typeof raw["name"] !== "string" || typeof raw["config"] !== "object" || raw["config"] === null) return { status: 400, message: "Invalid template format: it has no name" };
    return this.saveTemplate(slot, raw["name"], raw["config"] as Fields);
  }

  fleet(total: number, used: number): Fields {
    const max = Number(this.held("max_replicas"));
    const isFull = total >= max;
    return {
      capacity: { total, used, available: Math.max(0, total - used), min_replicas: Number(this.held("min_replicas")), max_replicas: max },
      provisioning: {
        can_provision: !isFull,
        circuit_breaker_state: "closed",
        blocked_reason: isFull ? "max_capacity" : null,
        blocked_reason_details: isFull ? { code: "max_capacity", message: `there are as many engines as there may be (${max})`, recovery_eta_seconds: 30, can_retry: false, should_wait: true } : null,
        docker: "reachable",
        image_pull: null,
      },
    };
  }

  add(): { name: string } | Refusal {
    const max = Number(this.held("max_replicas"));
    if (this.engines + this.added.length - this.removed.size >= max) return { status: 503, message: `there are as many engines as there may be (${max})` };
    const name = `sluice-engine-${this.engines + this.added.length + 1}`;
    this.added.push(name);
    this.record("engine", "created", `engine ${name} started by hand`, { engine: name });
    return { name };
  }

  take(id: string): void {
    this.removed.add(id);
    this.record("engine", "deleted", `container ${id} removed by hand`, { engine: id });
  }

  startWork(total: number): Refusal | null {
    if (this.progress(Date.now())["in_progress"]) return { status: 409, message: "engines are being replaced already" };
    this.work = { at: Date.now(), total };
    return null;
  }

  /** Each engine takes a second: its successor starts, then it stops. */
  progress(now: number): Fields {
    if (!this.work) return { in_progress: false, status: "idle", message: null, timestamp: null, started_at: null, total_engines: 0, engines_stopped: 0, engines_provisioned: 0, current_engine_id: null, current_phase: null };
    const { at, total } = this.work;
    const steps = Math.floor((now - at) / 500);
    const most = Math.min(total, this.renewable);
    const [made, gone] = [Math.min(most, Math.ceil(steps / 2)), Math.min(most, Math.floor(steps / 2))];
    const isOver = gone >= most;
    const isFailed = isOver && most < total;
    return {
      in_progress: !isOver,
      status: isFailed ? "error" : isOver ? "success" : "in_progress",
      message: isFailed ? `sluice-engine-${most + 1} did not answer within 30s of its start` : `${made} of ${total} engines are new`,
      timestamp: iso(isOver ? at + most * 1000 : now),
      started_at: iso(at),
      total_engines: total,
      engines_stopped: gone,
      engines_provisioned: made,
      current_engine_id: isOver || made === gone ? null : "0123456789ab",
      current_phase: isFailed ? "error" : isOver ? "complete" : made === gone ? "provisioning" : "stopping",
    };
  }
}
