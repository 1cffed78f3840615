// Following an appliance: server-sent events read from a body, and figures put together from what is new of them.
import type { Figures } from "./exposition";
import { parse } from "./exposition";
import { readEngine } from "./engine";
import { readStream, type Engine, type Stream } from "./model";
import * as read from "./read";

/** Everything at one moment by the appliance's clock. */
export interface Look {
  at: number;
  streams: Stream[];
  engines: Engine[];
  figures: Figures;
}

/** What somebody who follows is told. */
export type Followed =
  /** Figures, every so often. */
  | { kind: "look"; look: Look }
  /** Something happened: what kind of thing, and as what it is told. */
  | { kind: "change"; what: string; data: unknown }
  /** More happened than can be told: lists have to be read anew. */
  | { kind: "missed" };

export interface SentEvent {
  event: string;
  id: string | null;
  data: string;
}

/** Cuts a body into events; pieces end anywhere. */
export class EventReader {
  private rest = "";
  private event = "";
  private id: string | null = null;
  private data: string[] = [];

  *push(piece: string): Generator<SentEvent> {
    const lines = (this.rest + piece).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (this.data.length > 0) yield { event: this.event || "message", id: this.id, data: this.data.join("\n") };
        this.event = "";
        this.id = null;
        this.data = [];
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "event") this.event = value;
      else if (name === "id") this.id = value;
      else if (name === "data") this.data.push(value);
    }
  }
}

type Raw = Map<string, unknown>;

/** Puts looks together: the first is whole, each later one says what is new and what is gone. */
export class Gathered {
  private readonly streams: Raw = new Map();
  private readonly engines: Raw = new Map();
  private readonly figures: Raw = new Map();

  take(value: unknown): Look {
    const raw = read.demanded(value, "look");
    const at = read.count(raw["at"]);
    if (at === null) throw new Error("look: no time");
    if (raw["is_whole"] === true) for (const part of [this.streams, this.engines, this.figures]) part.clear();
    change(this.streams, raw["streams"], (item) => read.text(read.fields(item)?.["key"]));
    change(this.engines, raw["engines"], (item) => read.text(read.fields(item)?.["container_id"]));
    change(this.figures, raw["figures"], (item) => (typeof item === "string" ? item.slice(0, item.lastIndexOf(" ")) : null));
    return {
      at,
      streams: [...this.streams.values()].map((stream) => readStream(stream, at)),
      engines: [...this.engines.values()].map(readEngine),
      figures: parse([...this.figures.values()].join("\n")),
    };
  }
}

function change(part: Raw, told: unknown, nameOf: (item: unknown) => string | null): void {
  const { set, gone } = read.demanded(told, "look");
  for (const name of read.list(gone, "look")) part.delete(String(name));
  for (const item of read.list(set, "look")) {
    const name = nameOf(item);
    if (name !== null) part.set(name, item);
  }
}
