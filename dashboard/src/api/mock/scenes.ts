// What goes wrong in the mock, by name. `busy` is an appliance at its promised size with a little of everything.
import type { FaultKind } from "../outcome";
import type { Scale } from "./world";

export interface Scene {
  scale: Scale;
  /** How every read fails, and from which look on. */
  fails?: { kind: FaultKind; message: string; after: number };
  /** Sources that alone fail. */
  partly?: readonly ("streams" | "figures" | "health" | "engines")[];
  /** Names and agents made to hurt. */
  hostile?: boolean;
  /** Answers that lack most of their fields. */
  bare?: boolean;
  /** Whether writes are refused for want of a key. */
  locked?: boolean;
  /** What every write fails with. */
  refuses?: string;
  /** After how many engines replacing them fails. */
  renewable?: number;
  /** Whether nobody can follow. */
  cut?: boolean;
  /** Whether engines are behind two VPNs, one of which has failed. */
  vpn?: boolean;
  /** How many times faster than asked for figures come. */
  pace?: number;
  delayMs: number;
}

const BUSY: Scale = { engines: 1000, streams: 5000, players: 10_000 };
const SMALL: Scale = { engines: 6, streams: 14, players: 380 };

export const SCENES: Record<string, Scene> = {
  busy: { scale: BUSY, delayMs: 60 },
  small: { scale: SMALL, delayMs: 40 },
  empty: { scale: { engines: 0, streams: 0, players: 0 }, delayMs: 40 },
  down: { scale: SMALL, delayMs: 40, fails: { kind: "unreachable", message: "connection refused", after: 3 } },
  never: { scale: SMALL, delayMs: 40, fails: { kind: "unreachable", message: "connection refused", after: 0 } },
  closed: { scale: SMALL, delayMs: 40, fails: { kind: "key_missing", message: "no key was shown", after: 2 } },
  partly: { scale: SMALL, delayMs: 40, partly: ["figures"] },
  locked: { scale: SMALL, delayMs: 40, locked: true },
  failing: { scale: SMALL, delayMs: 40, refuses: "the disk is full" },
  unrenewed: { scale: SMALL, delayMs: 40, renewable: 2 },
  hostile: { scale: SMALL, delayMs: 40, hostile: true },
  bare: { scale: SMALL, delayMs: 40, bare: true },
  cut: { scale: SMALL, delayMs: 40, cut: true },
  vpn: { scale: SMALL, delayMs: 40, vpn: true },
  crowd: { scale: { engines: 1, streams: 1, players: 10_000 }, delayMs: 60 },
  hour: { scale: SMALL, delayMs: 0, pace: 40 },
  slow: { scale: SMALL, delayMs: 3000 },
};
