// The configuration under edit: what was typed, on top of what is saved. The target is a slot, or what is in force.
import type { Parameter, Variant } from "../api/variant";
import { Draft } from "../stores/draft";
import { KNOWN, knownOf, parameterOf, typedOf, type Fault, type Typed } from "./variant-table";

/** Members that are no parameters, as they are typed. */
export type Member = "enabled" | "platform" | "armVersion" | "memoryLimit" | "isMounted" | "hostPath" | "containerPath";

export interface Edit {
  /** A slot's number; `null` is what is in force. */
  slot: number | null;
  /** The template's name, when a slot is edited. */
  name: string | null;
  members: Partial<Record<Member, string | boolean>>;
  parameters: Record<string, Typed>;
}

export const NOTHING: Edit = { slot: null, name: null, members: {}, parameters: {} };

const isEdit = (value: unknown): value is Edit => {
  const edit = value as Partial<Edit> | null;
  return typeof edit === "object" && edit !== null && (edit.slot === null || typeof edit.slot === "number") && typeof edit.members === "object" && typeof edit.parameters === "object";
};

/** Tokens are forgotten with the tab. */
const withoutSecrets = (edit: Edit): Edit => ({ ...edit, parameters: Object.fromEntries(Object.entries(edit.parameters).filter(([name, { type }]) => !knownOf({ name, type }).isSecret)) });

export const edit = new Draft<Edit>("sluice.variant", NOTHING, isEdit, withoutSecrets);

/** Every parameter of a configuration, those that it lacks as they default to, in the order of the table, then the others. */
export function listed(saved: Variant): Parameter[] {
  const by = new Map(saved.parameters.map((parameter) => [parameter.name, parameter]));
  const known = KNOWN.map(({ name, type, default: value }) => by.get(name) ?? { name, type, value, enabled: false });
  return [...known, ...saved.parameters.filter(({ name }) => !KNOWN.some((one) => one.name === name))];
}

export interface Made {
  variant: Variant;
  faults: Record<string, Fault>;
}

/** The configuration as it would be saved, and what stands in the way. */
export function made(saved: Variant, { members, parameters }: Edit): Made {
  const text = (name: Member, held: string) => (typeof members[name] === "string" ? members[name] : held);
  const flag = (name: Member, held: boolean) => (typeof members[name] === "boolean" ? members[name] : held);
  const platform = text("platform", saved.platform);
  const faults: Record<string, Fault> = {};
  const seen = new Set(saved.parameters.map(({ name }) => name));
  const all = [...listed(saved), ...Object.entries(parameters).filter(([name]) => !listed(saved).some((one) => one.name === name)).map(([name, { type }]): Parameter => ({ name, type, value: "", enabled: false }))];
  const taken = all.flatMap((parameter) => {
    const typed = parameters[parameter.name];
    if (!typed) return seen.has(parameter.name) ? [parameter] : [];
    const meant = parameterOf(parameter.name, typed, platform);
    if (typeof meant !== "string") return [meant];
    faults[parameter.name] = meant;
    return [parameter];
  });
  return {
    variant: {
      enabled: flag("enabled", saved.enabled),
      platform,
      armVersion: text("armVersion", saved.armVersion),
      memoryLimit: text("memoryLimit", saved.memoryLimit).trim(),
      parameters: taken,
      isMounted: flag("isMounted", saved.isMounted),
      hostPath: text("hostPath", saved.hostPath).trim(),
      containerPath: text("containerPath", saved.containerPath).trim(),
    },
    faults,
  };
}

/** Changes a parameter; typed back to what is saved, it is no change. */
export function typeParameter(saved: Parameter, change: Partial<Typed>): void {
  edit.update((all) => {
    const held = typedOf(saved);
    const next = { ...(all.parameters[saved.name] ?? held), ...change };
    const { [saved.name]: _, ...others } = all.parameters;
    const isSame = next.text === held.text && next.enabled === held.enabled;
    return { ...all, parameters: isSame ? others : { ...others, [saved.name]: next } };
  });
}

export function typeMember(name: Member, value: string | boolean, held: string | boolean): void {
  edit.update((all) => {
    const { [name]: _, ...others } = all.members;
    return { ...all, members: value === held ? others : { ...others, [name]: value } };
  });
}

export const isTouched = ({ members, parameters, name }: Edit): boolean => Object.keys(members).length + Object.keys(parameters).length > 0 || name !== null;
