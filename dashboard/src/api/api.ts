// The one interface between the panel and an appliance. Two implementations: `network.ts` and `mock/`.
import type { Figures } from "./exposition";
import type { Client, EndedClient, Engine, Health, Stream, Version } from "./model";
import type { Outcome } from "./outcome";

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
  /** Where a player finds a broadcast. */
  playUrl(id: string, delivery: Delivery): string;
  /** Where a page of the API itself is, for links. */
  url(path: string): string;
}
