// What the panel has to tell about something a person did, or that went wrong: shown at once, kept in a list. What went well
// goes by itself; what failed stays until it is dismissed; what repeats is counted.
import { Store } from "./store";

export interface Notice {
  id: number;
  kind: "done" | "failed";
  text: string;
  detail: string | null;
  at: number;
  count: number;
  /** Takes back what was done, once. */
  undo: (() => void) | null;
  /** Whether it is on top of the page and not only in the list. */
  isShown: boolean;
}

const NOTICES_MAX = 100;
const SHOWN_MS = 6000;
/** Who may take something back is given more time to read. */
const UNDO_MS = 20_000;
let lastId = 0;

export const notices = new Store<readonly Notice[]>([]);

export function notify(kind: Notice["kind"], text: string, detail: string | null = null, undo: (() => void) | null = null): void {
  const at = Date.now();
  const same = notices.get().find((notice) => notice.kind === kind && notice.text === text && notice.detail === detail);
  lastId += 1;
  const notice = { id: lastId, kind, text, detail, at, count: (same?.count ?? 0) + 1, undo, isShown: true };
  notices.update((all) => [notice, ...all.filter((other) => other !== same)].slice(0, NOTICES_MAX));
  if (kind === "done") setTimeout(() => hide(notice.id), undo ? UNDO_MS : SHOWN_MS);
}

/** Takes back what a notice tells of; it can be done once. */
export function takeBack(id: number): void {
  const notice = notices.get().find((one) => one.id === id);
  notices.update((all) => all.map((one) => (one.id === id ? { ...one, undo: null, isShown: false } : one)));
  notice?.undo?.();
}

/** Takes a notice off the page; it stays in the list. */
export function hide(id: number): void {
  notices.update((all) => all.map((notice) => (notice.id === id ? { ...notice, isShown: false } : notice)));
}

export function clear(): void {
  notices.set([]);
}
