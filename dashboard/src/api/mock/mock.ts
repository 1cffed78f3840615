// The API on an invented appliance. Answers go through the same readers as those of a real one.
import type { Api, Dated, Delivery, Standing } from "../api";
import { parse } from "../exposition";
import { readEngine } from "../engine";
import { readClient, readEndedClient, readHealth, readStream, readVersion, type Stream } from "../model";
import { aborted, failure, success, type Outcome } from "../outcome";
import { demanded, fields, list, type Fields } from "../read";
import { SCENES, type Scene } from "./scenes";
import { World } from "./world";

const HOSTILE = ["<script>document.title='owned'</script>", "<img src=x onerror=document.title='owned'>", "\u202egnp.exe\u202c", "🏴‍☠️".repeat(40), "x".repeat(10_240)];

export class MockApi implements Api {
  private readonly scene: Scene;
  private readonly world: World;
  private looks = 0;
  private isSignedIn = false;

  constructor(
    scene: string,
    private readonly root: URL,
  ) {
    this.scene = SCENES[scene] ?? (SCENES["busy"] as Scene);
    this.world = new World(this.scene.scale);
  }

  url(path: string): string {
    return new URL(path, new URL("..", this.root)).href;
  }

  playUrl(id: string, delivery: Delivery): string {
    return this.url(`${delivery === "hls" ? "ace/manifest.m3u8" : "ace/getstream"}?id=${encodeURIComponent(id)}`);
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
      return { value: this.world.engines(at).map((engine, index) => readEngine(this.marred(engine, index))), at };
    });

  clients = (key: string, signal: AbortSignal) =>
    this.answer("clients", signal, () => {
      const raw = this.world.clients(key, Date.now());
      const read = (name: string) => list(raw[name], name).map((client, index) => this.marred(fields(client) ?? {}, index));
      return { clients: read("clients").map(readClient), ended: read("ended_clients").map((client) => readEndedClient(client)) };
    });

  operations = (signal: AbortSignal): Promise<Outcome<ReadonlySet<string> | null>> => this.answer("operations", signal, () => new Set(["DELETE /streams/{stream_id}"]));

  async move(key: string, engine: string | null): Promise<Outcome<void>> {
    const outcome = await this.answer("move", null, () => this.world.move(key, engine));
    if (outcome.status !== "success") return outcome;
    if (this.scene.locked && !this.isSignedIn) return failure({ kind: "key_missing", message: "no key was shown", status: 401 });
    const refusal = outcome.value;
    return refusal ? failure({ kind: refusal.status === 404 ? "not_found" : "refused", ...refusal }) : success(undefined);
  }

  async stop(stream: Stream): Promise<Outcome<void>> {
    if (this.scene.locked && !this.isSignedIn) return failure({ kind: "key_missing", message: "no key was shown", status: 401 });
    const outcome = await this.answer("stop", null, () => this.world.stop(stream.key, Date.now()));
    if (outcome.status !== "success") return outcome;
    return outcome.value ? success(undefined) : failure({ kind: "not_found", message: "no such stream", status: 404 });
  }
}
