// The API in a thread of its own, as that thread sees it: calls come from the page, what they come to goes back in parts.
import type { Api } from "./api";
import { failure } from "./outcome";
import type { Asked, Told } from "./remote";

/** How much of a list goes over at once: less than the page has time for between two frames. */
const PART = 250;
/** Between two parts, milliseconds, so that the page draws in between; all parts together wait no longer than the second. */
const PAUSE_MS = 8;
const PAUSES_MS = 400;

/** The page. */
export interface Page {
  tell: (told: Told) => void;
  listen: (take: (asked: Asked) => void) => void;
}

type Methods = { [name: string]: (...args: unknown[]) => Promise<unknown> };

/** Serves the page that started this thread. */
export function host(make: (root: URL, query: URLSearchParams) => Api, page: Page = starter()): void {
  const stops = new Map<number, AbortController>();
  let api: Methods | null = null;
  page.listen((asked) => {
    if (asked.kind === "begin") api = make(new URL(asked.root), new URLSearchParams(asked.query)) as unknown as Methods;
    else if (asked.kind === "abort") stops.get(asked.id)?.abort();
    else if (api) {
      const stop = new AbortController();
      stops.set(asked.id, stop);
      void serve(api, asked, stop.signal, page.tell).then(() => stops.delete(asked.id));
    }
  });
}

function starter(): Page {
  const thread = self as unknown as { postMessage: (told: Told) => void };
  return { tell: (told) => thread.postMessage(told), listen: (take) => self.addEventListener("message", ({ data }: MessageEvent<Asked>) => take(data)) };
}

async function serve(api: Methods, { id, method, args, canEnd }: Extract<Asked, { kind: "call" }>, signal: AbortSignal, tell: (told: Told) => void): Promise<void> {
  // What is told of one call is told in order.
  let told = Promise.resolve();
  const next = (say: () => Promise<void> | void) => (told = told.then(() => (signal.aborted ? undefined : say())));
  const news = [
    (place: string) => void next(() => tell({ kind: "place", id, place })),
    (what: unknown) => void next(() => whole(id, "look", what, tell, (body) => tell({ kind: "news", id, told: body as never }))),
  ];
  let result: unknown;
  try {
    result = await api[method]?.(...args, ...(method === "follow" ? news : []), ...(canEnd ? [signal] : []));
  } catch (error) {
    result = failure({ kind: "broken", message: error instanceof Error ? error.message : String(error) });
  }
  await next(() => whole(id, "value", result, tell, (body) => tell({ kind: "end", id, result: body })));
}

/** Tells something whose member `name` may hold long lists: these in parts before it. */
async function whole(id: number, name: string, what: unknown, tell: (told: Told) => void, say: (what: unknown) => void): Promise<void> {
  const body = isPlain(what) ? what[name] : null;
  if (!isPlain(body)) return say(what);
  const rest = { ...body };
  const long = Object.entries(body).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]) && entry[1].length > PART);
  const parts = long.reduce((sum, [, items]) => sum + Math.ceil(items.length / PART), 0);
  for (const [list, items] of long) {
    rest[list] = [];
    for (let at = 0; at < items.length; at += PART) {
      tell({ kind: "part", id, list, items: items.slice(at, at + PART) });
      await new Promise((resolve) => setTimeout(resolve, Math.min(PAUSE_MS, PAUSES_MS / parts)));
    }
  }
  say({ ...(what as object), [name]: rest });
}

function isPlain(value: unknown): value is { [name: string]: unknown } {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
