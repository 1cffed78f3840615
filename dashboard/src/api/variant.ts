// The custom variant of engines and the slots for templates of it.
import type { components } from "./schema";
import * as read from "./read";

type Schemas = components["schemas"];
type KeysOf<T> = { [K in keyof T]?: unknown };

export type Kind = "flag" | "string" | "int" | "bytes" | "path";

export interface Parameter {
  name: string;
  type: string;
  value: string | number | boolean;
  enabled: boolean;
}

export interface Variant {
  enabled: boolean;
  platform: string;
  armVersion: string;
  memoryLimit: string;
  parameters: Parameter[];
  isMounted: boolean;
  hostPath: string;
  containerPath: string;
}

export interface Slot {
  slot: number;
  name: string;
  exists: boolean;
}

export interface Slots {
  slots: Slot[];
  active: number | null;
}

export interface Template {
  name: string;
  variant: Variant;
}

export function readVariant(value: unknown): Variant {
  const raw = read.demanded(value, "variant") as KeysOf<Schemas["CustomVariantConfig"]>;
  return {
    enabled: raw.enabled === true,
    platform: read.text(raw.platform) ?? "",
    armVersion: read.text(raw.arm_version) ?? "",
    memoryLimit: read.text(raw.memory_limit) ?? "",
    parameters: read.list(raw.parameters, "parameters").map(readParameter),
    isMounted: raw.torrent_folder_mount_enabled === true,
    hostPath: read.text(raw.torrent_folder_host_path) ?? "",
    containerPath: read.text(raw.torrent_folder_container_path) ?? "",
  };
}

function readParameter(value: unknown): Parameter {
  const raw = read.demanded(value, "parameter") as KeysOf<Schemas["EngineParameter"]>;
  const held = raw.value;
  return {
    name: read.text(raw.name) ?? "",
    type: read.text(raw.type) ?? "string",
    value: typeof held === "string" || typeof held === "boolean" || typeof held === "number" ? held : "",
    enabled: raw.enabled !== false,
  };
}

/** As the API takes it. */
export function writtenVariant(variant: Variant): Schemas["CustomVariantConfig"] {
  return {
    enabled: variant.enabled,
    platform: variant.platform,
    arm_version: variant.armVersion,
    memory_limit: variant.memoryLimit || null,
    parameters: variant.parameters,
    torrent_folder_mount_enabled: variant.isMounted,
    torrent_folder_host_path: variant.hostPath || null,
    torrent_folder_container_path: variant.containerPath,
  };
}

export function readSlots(value: unknown): Slots {
  const raw = read.demanded(value, "templates") as KeysOf<Schemas["Templates"]>;
  const slots = read.list(raw.templates, "templates").map((one) => {
    const slot = read.demanded(one, "slot") as KeysOf<Schemas["TemplateSlot"]>;
    return { slot: read.count(slot.slot_id) ?? 0, name: read.label(slot.name) ?? "", exists: slot.exists === true };
  });
  return { slots, active: read.count(raw.active_template_id) };
}

export function readTemplate(value: unknown): Template {
  const raw = read.demanded(value, "template") as KeysOf<Schemas["Template"]>;
  return { name: read.text(raw.name) ?? "", variant: readVariant(raw.config) };
}
