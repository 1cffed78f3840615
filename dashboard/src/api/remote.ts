// The API in a thread of its own, as the page sees it: thousands of streams are fetched and read there, and come over in parts so
// small that the page goes on scrolling. What a call means is the other thread's business; here it is only passed on.
import { Addresses } from "./addresses";
import type { Api } from "./api";
import { Figures } from "./exposition";
import type { Followed } from "./follow";
import { aborted, failure, type Fault, type Outcome } from "./outcome";

/** What the page asks of the other thread. */
export type Asked =
  /** Comes first: where the API is, and what the page's address asks for. */
  | { kind: "begin"; root: string; query: string }
  | { kind: "call"; id: number; method: string; args: unknown[]; canEnd: boolean }
  /** Nobody waits for this call any more. */
  | { kind: "abort"; id: number };

/** What that thread answers. */
export type Told =
  /** A part of a long list in what comes next to this call. */
  | { kind: "part"; id: number; list: string; items: unknown[] }
  | { kind: "place"; id: number; place: string }
  | { kind: "news"; id: number; told: Followed }
  | { kind: "end"; id: number; result: unknown };

/** The other thread. */
export interface Other {
  ask: (asked: Asked) => void;
  /** `take` is called with each answer, `lost` when the thread could not be started. */
  listen: (take: (told: Told) => void, lost: (why: string) => void) => void;
}

interface Call {
  end: (result: unknown) => void;
  onPlace?: (place: string) => void;
  onTold?: (told: Followed) => void;
  parts: Map<string, unknown[]>;
}

type Record = { [name: string]: unknown };

export function worker(thread: Worker): Other {
  return {
    ask: (asked) => thread.postMessage(asked),
    listen: (take, lost) => {
      let isThere = false;
      thread.addEventListener("message", ({ data }: MessageEvent<Told>) => {
        isThere = true;
        take(data);
      });
      // Once it is there, a fault in it is one call's.
      thread.addEventListener("error", ({ message }) => void (isThere || lost(message || "its script did not come")));
    },
  };
}

export function remote(other: Other, root: URL, query = ""): Api {
  const calls = new Map<number, Call>();
  let last = 0;
  let lost: Fault | null = null;

  other.listen(
    (told) => {
      const call = calls.get(told.id);
      if (!call) return;
      if (told.kind === "part") {
        const held = call.parts.get(told.list);
        if (held) held.push(...told.items);
        else call.parts.set(told.list, told.items);
      } else if (told.kind === "place") call.onPlace?.(told.place);
      else if (told.kind === "end") call.end(whole(call, told.result));
      else {
        try {
          if (told.told.kind === "look") complete(call, told.told.look as unknown as Record);
          call.onTold?.(told.told);
        } catch (error) {
          // As if it had come broken: following ends, and says why.
          other.ask({ kind: "abort", id: told.id });
          call.end({ kind: "broken", message: error instanceof Error ? error.message : String(error) } satisfies Fault);
        }
      }
    },
    (why) => {
      lost = { kind: "broken", message: why };
      for (const call of [...calls.values()]) call.end(call.onTold ? lost : failure(lost));
    },
  );
  other.ask({ kind: "begin", root: root.href, query });

  const ask = (method: string, args: unknown[], following?: Pick<Call, "onPlace" | "onTold">): Promise<unknown> => {
    const signal = args.at(-1) instanceof AbortSignal ? (args.pop() as AbortSignal) : null;
    const ended = following ? null : aborted;
    if (signal?.aborted) return Promise.resolve(ended);
    if (lost) return Promise.resolve(following ? lost : failure(lost));
    return new Promise((resolve) => {
      last += 1;
      const id = last;
      const abort = () => {
        other.ask({ kind: "abort", id });
        end(ended);
      };
      const end = (result: unknown) => {
        calls.delete(id);
        signal?.removeEventListener("abort", abort);
        resolve(result);
      };
      signal?.addEventListener("abort", abort);
      calls.set(id, { ...following, end, parts: new Map() });
      other.ask({ kind: "call", id, method, args, canEnd: signal !== null });
    });
  };

  const here = {
    follow: (everyS: number, from: string | null, onPlace: (place: string) => void, onTold: (told: Followed) => void, signal: AbortSignal) => ask("follow", [everyS, from, signal], { onPlace, onTold }),
  };
  const addresses = new Addresses(root);
  return new Proxy({} as Api, {
    get: (_, name) => {
      // Nobody may take it for a promise.
      if (typeof name === "symbol" || name === "then") return undefined;
      if (name === "url" || name === "playUrl") return addresses[name].bind(addresses);
      return name === "follow" ? here.follow : (...args: unknown[]) => ask(name, args);
    },
  });
}

/** What a call came to, with the parts that came before it. */
function whole(call: Call, result: unknown): unknown {
  const outcome = result as Outcome<unknown> | Fault | null;
  if (outcome && "status" in outcome && outcome.status === "success") complete(call, outcome.value as Record | null);
  return result;
}

function complete({ parts }: Call, body: Record | null): void {
  if (body === null || typeof body !== "object") return;
  for (const [list, items] of parts) body[list] = items;
  parts.clear();
  // Objects come over without what they can do.
  for (const name of ["figures", "value"]) if (isFigures(body[name])) body[name] = new Figures(body[name].samples, body[name].text);
}

function isFigures(value: unknown): value is Pick<Figures, "samples" | "text"> {
  return typeof value === "object" && value !== null && (value as Record)["samples"] instanceof Map;
}
