// The API on an invented appliance. Answers go through the same readers as those of a real one.
import { Addresses } from "../addresses";
import type { Api, Dated, Standing } from "../api";
import { parse } from "../exposition";
import { readEngine } from "../engine";
import { readBreakers, readFleet, readReprovision, readUsage, readVpn, type Usage } from "../fleet";
import type { Followed } from "../follow";
import { readCounts, readEnded, readEntry, readSample, type LogFilter } from "../log";
import { readPast, readTimeline } from "../past";
import { readImported, readLooping, readSettings, type Group, type Part, type Value } from "../settings";
import { readSlots, readTemplate, readVariant, writtenVariant, type Template, type Variant } from "../variant";
import { readClient, readEndedClient, readHealth, readStream, readVersion, type Stream } from "../model";
import { aborted, failure, success, type Fault, type Outcome } from "../outcome";
import { demanded, fields, list, type Fields } from "../read";
import { Office, type Refusal } from "./office";
import { SCENES, type Scene } from "./scenes";
import { World } from "./world";

const HOSTILE = ["<script>document.title='owned'</script>", "<img src=x onerror=document.title='owned'>", "\u202egnp.exe\u202c", "🏴‍☠️".repeat(40), "x".repeat(10_240)];

export class MockApi extends Addresses implements Api {
  private readonly scene: Scene;
  private readonly world: World;
  private looks = 0;
  private isSignedIn = false;
  private readonly office: Office;
  /** Whoever follows is told of these. */
  private readonly news = new Set<(told: Followed) => void>();

  constructor(scene: string, root: URL) {
    super(root);
    this.scene = SCENES[scene] ?? (SCENES["busy"] as Scene);
    this.world = new World(this.scene.scale, this.scene.vpn);
    this.office = new Office(this.world.born, this.scene.scale.engines, this.scene.renewable);
  }

  private async answer<T>(source: string, signal: AbortSignal | null, make: () => T): Promise<Outcome<T>> {
    await new Promise((resolve) => setTimeout(resolve, this.scene.delayMs));
    if (signal?.aborted) return aborted;
    const { fails, partly } = this.scene;
    if (fails && this.looks >= fails.after) return failure({ kind: fails.kind, message: fails.message });
    if (partly?.some((name) => name === source)) return failure({ kind: "broken", message: "HTTP 500", status: 500 });
    return success(make());
  }

  private marred(value: Fields, at: number): Fields {
    if (this.scene.bare) return { key: value["key"], ace_id: value["ace_id"], client_id: value["client_id"], container_id: value["container_id"] };
    const text = HOSTILE[at % HOSTILE.length];
    return this.scene.hostile ? { ...value, user_agent: text, formats: [text], engine_host: text, container_name: text, fault: text, version: text } : value;
  }

  streams(signal: AbortSignal): Promise<Outcome<Dated<Stream[]>>> {
    return this.answer("streams", signal, () => {
      const at = Date.now();
      this.looks += 1;
      const sessions = list(this.world.status(at)["sessions"], "sessions");
      return { value: sessions.map((session, index) => readStream(this.marred(demanded(session, "session"), index), at)), at };
    });
  }

  async standing(): Promise<Outcome<Standing>> {
    const needsKey = this.scene.locked ?? false;
    return success({ needsKey, readsNeedKey: false, isSignedIn: !needsKey || this.isSignedIn });
  }

  /** The mock's key is `key`. */
  async signIn(key: string): Promise<Outcome<void>> {
    this.isSignedIn = key === "key";
    return this.isSignedIn ? success(undefined) : failure({ kind: "key_wrong", message: "invalid token", status: 403 });
  }

  async signOut(): Promise<Outcome<void>> {
    this.isSignedIn = false;
    return success(undefined);
  }

  version = (signal: AbortSignal) => this.answer("version", signal, () => readVersion({ version: "0.1.0-mock", title: "Sluice" }));

  health = (signal: AbortSignal) =>
    this.answer("health", signal, () => readHealth({ status: "ok", shards: [0, 1, 2, 3].map((shard) => ({ shard, driver: shard === 3 ? "epoll" : "io_uring" })) }));

  figures = (signal: AbortSignal) =>
    this.answer("figures", signal, () => {
      const at = Date.now();
      return { value: parse(this.world.exposition(at)), at };
    });

  engines = (signal: AbortSignal) =>
    this.answer("engines", signal, () => {
      const at = Date.now();
      const known = this.world.engines(at).filter((engine) => !this.office.removed.has(String(engine["container_id"])));
      const added = this.office.added.map((name) => ({ container_id: name, container_name: name, host: name, port: 6878, state: "healthy", condition: "well", streams: [], leases: 0, version: "3.2.13" }));
      return { value: [...known, ...added].map((engine, index) => readEngine(this.marred(engine, index))), at };
    });

  clients = (key: string, signal: AbortSignal) =>
    this.answer("clients", signal, () => {
      const raw = this.world.clients(key, Date.now());
      const read = (name: string) => list(raw[name], name).map((client, index) => this.marred(fields(client) ?? {}, index));
      return { clients: read("clients").map(readClient), ended: read("ended_clients").map((client) => readEndedClient(client)) };
    });

  operations = (signal: AbortSignal): Promise<Outcome<ReadonlySet<string> | null>> => this.answer("operations", signal, () => new Set(["DELETE /streams/{stream_id}"]));

  /** Nobody is told while something fails: then a page has to ask. */
  async follow(everyS: number, _from: string | null, onPlace: (place: string) => void, onTold: (told: Followed) => void, signal: AbortSignal): Promise<Fault | null> {
    if (this.scene.cut) return { kind: "unreachable", message: "the connection ended" };
    onPlace("mock-1");
    this.news.add(onTold);
    try {
      while (!signal.aborted) {
        const [streams, figures, engines] = await Promise.all([this.streams(signal), this.figures(signal), this.engines(signal)]);
        if (signal.aborted) return null;
        for (const one of [streams, figures, engines]) if (one.status === "error") return one.fault;
        if (streams.status !== "success" || figures.status !== "success" || engines.status !== "success") return null;
        onTold({ kind: "look", look: { at: streams.value.at, streams: streams.value.value, engines: engines.value.value, figures: figures.value.value } });
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, (everyS * 1000) / (this.scene.pace ?? 1));
          signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
        });
      }
      return null;
    } finally {
      this.news.delete(onTold);
    }
  }

  private tell(what: string, data: unknown): void {
    for (const told of this.news) told({ kind: "change", what, data });
  }

  /** Why nothing may be changed, if so. */
  private refused(): Outcome<never> | null {
    if (this.scene.locked && !this.isSignedIn) return failure({ kind: "key_missing", message: "no key was shown", status: 401 });
    return this.scene.refuses === undefined ? null : failure({ kind: "broken", message: this.scene.refuses, status: 500 });
  }

  /** What only somebody with the key may do. */
  private async write<T = void>(name: string, make: () => T | Refusal | null): Promise<Outcome<T>> {
    const refused = this.refused();
    if (refused) return refused;
    const outcome = await this.answer(name, null, make);
    if (outcome.status !== "success") return outcome;
    const { value } = outcome;
    const refusal = fields(value) as Refusal | null;
    if (refusal && typeof refusal.status === "number") return failure({ kind: refusal.status === 404 ? "not_found" : "refused", message: refusal.message, status: refusal.status });
    return success(value as T);
  }

  log = ({ type, since, engine, stream, limit, offset }: LogFilter, signal: AbortSignal) =>
    this.answer("log", signal, () => this.office.log(type, since, engine, stream, limit, offset).map((entry, at) => readEntry(this.scene.hostile ? { ...entry, message: HOSTILE[at % HOSTILE.length] } : entry)));
  logCounts = (signal: AbortSignal) => this.answer("log", signal, () => readCounts(this.office.counts()));
  ended = (signal: AbortSignal) => this.answer("ended", signal, () => this.world.ended().map(readEnded));
  samples = (streamId: string, signal: AbortSignal) => this.answer("samples", signal, () => this.world.samples(streamId, Date.now()).map(readSample));

  private total(): number {
    return this.scene.scale.engines + this.office.added.length - this.office.removed.size;
  }

  async timeline(key: string, signal: AbortSignal) {
    const outcome = await this.answer("timeline", signal, () => this.world.timeline(key, Date.now()));
    if (outcome.status !== "success") return outcome;
    return outcome.value ? success(readTimeline(this.scene.bare ? {} : outcome.value)) : failure({ kind: "not_found", message: `Session ${key} not found`, status: 404 });
  }
  streamTitle = (streamId: string, signal: AbortSignal) => this.answer("title", signal, () => (this.scene.hostile ? HOSTILE[0] ?? null : this.scene.bare ? null : this.world.title(streamId)));
  past = (seconds: number, signal: AbortSignal) => this.answer("figures", signal, () => readPast(this.world.past(seconds, Date.now())));

  fleet = (signal: AbortSignal) => this.answer("fleet", signal, () => readFleet(this.office.fleet(this.total(), Math.min(this.total(), this.scene.scale.streams))));
  breakers = (signal: AbortSignal) =>
    this.answer("breakers", signal, () => {
      const one = { state: "closed", failure_count: 0, failure_threshold: 5, last_failure_time: null, last_success_time: null, recovery_timeout: 300 };
      return readBreakers({ circuit_breakers: { general: one, replacement: { ...one, state: this.areBreakersOpen ? "open" : "closed", failure_count: this.areBreakersOpen ? 3 : 0, failure_threshold: 3 } } });
    });
  private areBreakersOpen = true;
  resetBreakers = () => this.write("breakers", () => void (this.areBreakersOpen = false));
  usage = (signal: AbortSignal) => this.answer("usage", signal, (): ReadonlyMap<string, Usage> => new Map(this.world.usage(Date.now()).map(([id, raw]) => [id, readUsage(raw)])));
  engineLog = (id: string, signal: AbortSignal) => this.answer("engineLog", signal, () => Array.from({ length: 60 }, (_, at) => `${new Date(this.world.born + at * 900).toISOString()} INFO ${id} acestream.core: peers=${8 + (at % 5)} dlr=${600 + at * 7}`));
  vpn = (signal: AbortSignal) =>
    this.answer("vpn", signal, () => {
      if (!this.scene.vpn) return readVpn({ mode: "disabled", enabled: false, vpn1: null, vpn2: null, emergency_mode: { active: false } });
      const node = (name: string, isUp: boolean) => ({ container_name: name, container: name, status: isUp ? "running" : "exited", health: isUp ? "healthy" : "unhealthy", connected: isUp, forwarded_port: isUp ? 43_121 : null, public_ip: isUp ? "203.0.113.7" : null, provider: "example", country: "Iceland", city: "Reykjavik", last_check: new Date().toISOString() });
      const emergency_mode = { active: true, failed_vpn: "gluetun-one", healthy_vpn: "gluetun-two", duration_seconds: 754 };
      return readVpn({ mode: "redundant", enabled: true, vpn1: node("gluetun-one", false), vpn2: node("gluetun-two", true), emergency_mode });
    });

  addEngine = () =>
    this.write<string>("addEngine", () => {
      const made = this.office.add();
      if ("status" in made) return made;
      this.tell("event", this.office.log("", null, "", "", 1, 0)[0]);
      return made.name;
    });
  drainEngine = (id: string, isDrained: boolean) => this.write("drainEngine", () => (this.world.drain(id, isDrained) ? (null as unknown as void) : { status: 404, message: "engine not found" }));
  removeEngine = (id: string) =>
    this.write("removeEngine", () => {
      this.office.take(id);
      this.tell("event", this.office.log("", null, "", "", 1, 0)[0]);
      return null as unknown as void;
    });
  scale = (count: number) =>
    this.write<number | null>("scale", () => {
      for (let made = this.total(); made < count; made += 1) if ("status" in this.office.add()) break;
      return this.total();
    });
  reprovision = () => this.write("reprovision", () => this.office.startWork(Math.min(6, this.total())) as unknown as void);
  reprovisioning = (signal: AbortSignal) => this.answer("reprovisioning", signal, () => readReprovision(this.office.progress(Date.now())));

  settings = (signal: AbortSignal) => this.answer("settings", signal, () => readSettings(this.office.settings()));
  changeSettings = (group: Group, values: Record<string, Value>) => this.write("settings", () => this.office.change(group, values) as unknown as void);
  exportSettings = () => this.write<Blob>("export", () => new Blob(["PK mock"], { type: "application/zip" }));
  async importSettings(file: Blob, parts: readonly Part[]) {
    const start = await file.slice(0, 2).text();
    return this.write("import", () => {
      if (file.size > 1 << 20) return { status: 413, message: "the request body is larger than 1048576 bytes" };
      if (start !== "PK") return { status: 400, message: "Invalid ZIP file" };
      const has = (part: Part) => parts.includes(part);
      return readImported({ imported: { custom_variant: has("custom_variant"), templates: has("templates") ? 2 : 0, active_template: has("templates"), proxy: has("proxy"), loop_detection: has("loop_detection"), engine: has("engine"), orchestrator: has("orchestrator"), errors: [] } });
    });
  }
  looping = (signal: AbortSignal) => this.answer("looping", signal, () => readLooping(this.office.loops()));
  unblock = (id: string | null) => this.write("unblock", () => this.office.unblock(id));

  platform = (signal: AbortSignal) => this.answer("platform", signal, () => "amd64");
  variant = (signal: AbortSignal) => this.answer("variant", signal, () => readVariant(this.office.variant()));
  saveVariant = (variant: Variant) => this.write("variant", () => this.office.saveVariant(writtenVariant(variant) as unknown as Fields) as unknown as void);
  slots = (signal: AbortSignal) => this.answer("slots", signal, () => readSlots(this.office.slots()));
  async template(slot: number, signal: AbortSignal): Promise<Outcome<Template>> {
    const outcome = await this.answer("template", signal, () => this.office.template(slot));
    if (outcome.status !== "success") return outcome;
    return outcome.value ? success(readTemplate(outcome.value)) : failure({ kind: "not_found", message: `Template ${slot} not found`, status: 404 });
  }
  saveTemplate = (slot: number, { name, variant }: Template) => this.write("template", () => this.office.saveTemplate(slot, name, writtenVariant(variant) as unknown as Fields) as unknown as void);
  renameTemplate = (slot: number, name: string) => this.write("template", () => this.office.rename(slot, name) as unknown as void);
  removeTemplate = (slot: number) => this.write("template", () => this.office.remove(slot) as unknown as void);
  activateTemplate = (slot: number) => this.write("template", () => this.office.activate(slot) as unknown as void);
  exportTemplate = (slot: number) => this.write<Blob>("template", () => new Blob([JSON.stringify(this.office.template(slot), null, 2)], { type: "application/json" }));
  importTemplate = (slot: number, text: string) => this.write("template", () => this.office.importTemplate(slot, text) as unknown as void);

  async move(key: string, engine: string | null): Promise<Outcome<void>> {
    return this.write<void>("move", () => this.world.move(key, engine) as unknown as void);
  }

  async stop(stream: Stream): Promise<Outcome<void>> {
    const outcome = await this.write<boolean>("stop", () => this.world.stop(stream.key, Date.now()));
    if (outcome.status !== "success") return outcome;
    if (outcome.value) this.tell("stream", {});
    return outcome.value ? success(undefined) : failure({ kind: "not_found", message: "no such stream", status: 404 });
  }
}
