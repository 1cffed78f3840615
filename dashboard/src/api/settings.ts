// Settings that can be changed, and the backup of all of them.
import type { components } from "./schema";
import * as read from "./read";

type Schemas = components["schemas"];
type KeysOf<T> = { [K in keyof T]?: unknown };

export type Value = string | number | boolean;
export const GROUPS = ["proxy", "loop_detection", "engine", "orchestrator"] as const;
export type Group = (typeof GROUPS)[number];

export interface Setting {
  group: Group;
  name: string;
  value: Value;
  /** `default`, `environment` or `api`. */
  source: string;
  default: Value | null;
  kind: "integer" | "number" | "boolean" | "choice" | "text";
  min: number | null;
  max: number | null;
  choices: string[];
  /** Whether it does anything in this version. */
  acts: boolean;
  variables: string[];
}

export interface Settings {
  isPinned: boolean;
  all: Setting[];
}

/** What may be taken from a backup. */
export const PARTS = ["custom_variant", "templates", "engine", "proxy", "loop_detection", "orchestrator"] as const;
export type Part = (typeof PARTS)[number];

export interface Imported {
  taken: Part[];
  templates: number;
  errors: string[];
}

/** A stream that is not played because it loops. */
export interface Looping {
  id: string;
  at: number | null;
}

function value(raw: unknown): Value | null {
  return typeof raw === "string" || typeof raw === "boolean" ? raw : read.number(raw);
}

export function readSettings(answer: unknown): Settings {
  const raw = read.demanded(answer, "settings") as KeysOf<Schemas["SettingsTable"]>;
  return { isPinned: raw.is_pinned === true, all: read.list(raw.settings, "settings").flatMap((one) => readSetting(one) ?? []) };
}

function readSetting(answer: unknown): Setting | null {
  const raw = read.demanded(answer, "setting") as KeysOf<Schemas["Setting"]>;
  const [name, held, group, kind] = [read.text(raw.name), value(raw.value), read.text(raw.group), read.text(raw.kind)];
  const isGroup = GROUPS.find((known) => known === group);
  if (name === null || held === null || !isGroup) return null;
  const isKind = (["integer", "number", "boolean", "choice", "text"] as const).find((known) => known === kind);
  const texts = (list: unknown) => (Array.isArray(list) ? list.flatMap((one) => read.text(one) ?? []) : []);
  return {
    group: isGroup,
    name,
    value: held,
    source: read.text(raw.source) ?? "",
    default: value(raw.default),
    kind: isKind ?? (typeof held === "boolean" ? "boolean" : typeof held === "number" ? "number" : "text"),
    min: read.number(raw.min),
    max: read.number(raw.max),
    choices: texts(raw.choices),
    acts: raw.acts !== false,
    variables: texts(raw.variables),
  };
}

export function readImported(answer: unknown): Imported {
  const raw = (read.fields(read.demanded(answer, "import")["imported"]) ?? {}) as KeysOf<Schemas["ImportedSettings"]>;
  const templates = read.count(raw.templates) ?? 0;
  const taken = PARTS.filter((part) => (part === "templates" ? templates > 0 : raw[part] === true));
  return { taken, templates, errors: Array.isArray(raw.errors) ? raw.errors.flatMap((error) => read.label(error) ?? []) : [] };
}

export function readLooping(answer: unknown): Looping[] {
  const raw = read.demanded(answer, "looping") as KeysOf<Schemas["LoopingStreams"]>;
  const times = read.fields(raw.streams) ?? {};
  return read.list(raw.stream_ids, "looping").flatMap((id) => (typeof id === "string" ? [{ id, at: read.time(times[id]) }] : []));
}
