// The one interface between the panel and an appliance. Two implementations: `network.ts` and `mock/`.
import type { Figures } from "./exposition";
import type { Breaker, Fleet, Reprovision, Usage, VpnState } from "./fleet";
import type { Followed } from "./follow";
import type { EndedStream, LogCounts, LogEntry, LogFilter, Sample } from "./log";
import type { Group, Imported, Looping, Part, Settings, Value } from "./settings";
import type { Slots, Template, Variant } from "./variant";
import type { Client, EndedClient, Engine, Health, Stream, Version } from "./model";
import type { Fault, Outcome } from "./outcome";
import type { Past, Timeline } from "./past";

/** Something read, and the appliance's clock when it was. */
export interface Dated<T> {
  value: T;
  /** Milliseconds since 1970 by the appliance's clock. */
  at: number;
}

export interface ClientList {
  clients: Client[];
  ended: EndedClient[];
}

/** How a broadcast is delivered to a player. */
export type Delivery = "ts" | "hls";

/** Who this browser is to the appliance. */
export interface Standing {
  needsKey: boolean;
  readsNeedKey: boolean;
  isSignedIn: boolean;
}

export interface Api {
  standing(signal: AbortSignal): Promise<Outcome<Standing>>;
  signIn(key: string): Promise<Outcome<void>>;
  signOut(): Promise<Outcome<void>>;
  version(signal: AbortSignal): Promise<Outcome<Version>>;
  health(signal: AbortSignal): Promise<Outcome<Health>>;
  /** Every session there is, those in their grace period included. */
  streams(signal: AbortSignal): Promise<Outcome<Dated<Stream[]>>>;
  /** The exposition, parsed. */
  figures(signal: AbortSignal): Promise<Outcome<Dated<Figures>>>;
  engines(signal: AbortSignal): Promise<Outcome<Dated<Engine[]>>>;
  /** Players of one stream and those that ended a short while ago. */
  clients(key: string, signal: AbortSignal): Promise<Outcome<ClientList>>;
  /** Operations this appliance has, as `METHOD /path/{parameter}`; `null` when it does not say. */
  operations(signal: AbortSignal): Promise<Outcome<ReadonlySet<string> | null>>;
  /** Begins to move a stream to another engine, of the appliance's choice unless one is named. */
  move(key: string, engine: string | null): Promise<Outcome<void>>;
  /** Ends a stream and all of its players. */
  stop(stream: Stream): Promise<Outcome<void>>;
  /**
   * Follows what happens, and figures every so often, until it is aborted or cut; answers why it was cut. `from` is where an
   * earlier connection was; the place to go on at is told to `onPlace`.
   */
  follow(everyS: number, from: string | null, onPlace: (place: string) => void, onTold: (told: Followed) => void, signal: AbortSignal): Promise<Fault | null>;
  /** Entries of the log, newest first. */
  log(filter: LogFilter, signal: AbortSignal): Promise<Outcome<LogEntry[]>>;
  logCounts(signal: AbortSignal): Promise<Outcome<LogCounts>>;
  /** Streams that ended within the last hour. */
  ended(signal: AbortSignal): Promise<Outcome<EndedStream[]>>;
  /** Figures of a stream over the last hour. */
  samples(streamId: string, signal: AbortSignal): Promise<Outcome<Sample[]>>;
  /** What lies where in a stream's window, and how it started. */
  timeline(key: string, signal: AbortSignal): Promise<Outcome<Timeline>>;
  /** What the engine calls what it plays; `null` when it does not say. */
  streamTitle(streamId: string, signal: AbortSignal): Promise<Outcome<string | null>>;
  /** Figures of the last so many seconds. */
  past(seconds: number, signal: AbortSignal): Promise<Outcome<Past>>;
  fleet(signal: AbortSignal): Promise<Outcome<Fleet>>;
  breakers(signal: AbortSignal): Promise<Outcome<Breaker[]>>;
  resetBreakers(): Promise<Outcome<void>>;
  /** What each engine's container uses, by engine. */
  usage(signal: AbortSignal): Promise<Outcome<ReadonlyMap<string, Usage>>>;
  /** The last lines an engine wrote. */
  engineLog(id: string, signal: AbortSignal): Promise<Outcome<string[]>>;
  vpn(signal: AbortSignal): Promise<Outcome<VpnState>>;
  /** Starts an engine; answers its name. */
  addEngine(): Promise<Outcome<string>>;
  /** Gives an engine no more streams and moves those it has, or takes that back. */
  drainEngine(id: string, isDrained: boolean): Promise<Outcome<void>>;
  /** Moves an engine's streams away and removes it. */
  removeEngine(id: string): Promise<Outcome<void>>;
  /** Begins to have so many engines; answers how many it will be. */
  scale(count: number): Promise<Outcome<number | null>>;
  reprovision(): Promise<Outcome<void>>;
  reprovisioning(signal: AbortSignal): Promise<Outcome<Reprovision>>;
  settings(signal: AbortSignal): Promise<Outcome<Settings>>;
  changeSettings(group: Group, values: Record<string, Value>): Promise<Outcome<void>>;
  exportSettings(): Promise<Outcome<Blob>>;
  importSettings(file: Blob, parts: readonly Part[]): Promise<Outcome<Imported>>;
  looping(signal: AbortSignal): Promise<Outcome<Looping[]>>;
  /** Takes one stream off the list, or all. */
  unblock(id: string | null): Promise<Outcome<void>>;
  platform(signal: AbortSignal): Promise<Outcome<string | null>>;
  variant(signal: AbortSignal): Promise<Outcome<Variant>>;
  saveVariant(variant: Variant): Promise<Outcome<void>>;
  slots(signal: AbortSignal): Promise<Outcome<Slots>>;
  template(slot: number, signal: AbortSignal): Promise<Outcome<Template>>;
  saveTemplate(slot: number, template: Template): Promise<Outcome<void>>;
  renameTemplate(slot: number, name: string): Promise<Outcome<void>>;
  removeTemplate(slot: number): Promise<Outcome<void>>;
  activateTemplate(slot: number): Promise<Outcome<void>>;
  /** The whole template as a file, its secrets too. */
  exportTemplate(slot: number): Promise<Outcome<Blob>>;
  importTemplate(slot: number, text: string): Promise<Outcome<void>>;
  /** Where a player finds a broadcast. */
  playUrl(id: string, delivery: Delivery): string;
  /** Where a page of the API itself is, for links. */
  url(path: string): string;
}
