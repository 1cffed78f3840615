// A player that takes bytes until it is ended, and says what it got; or one that takes hardly any.
import { get } from "node:http";

export interface Player {
  /** Bytes it was given so far. */
  bytes: () => number;
  /** Whether the appliance still serves it. */
  isPlaying: () => boolean;
  leave: () => void;
}

export function player(base: string, id: string, agent = "VLC/3.0.21 LibVLC/3.0.21", isStuck = false): Player {
  let [bytes, isOver] = [0, false];
  const over = () => void (isOver = true);
  const asked = get(new URL(`ace/getstream?id=${id}`, base), { agent: false, headers: { "User-Agent": agent } }, (answer) => {
    // Without anybody to read them, bytes stay where they are as soon as the kernel holds enough.
    if (!isStuck) answer.on("data", (chunk: Buffer) => (bytes += chunk.length));
    answer.on("close", over);
    answer.on("error", over);
    if (answer.statusCode !== 200) over();
  });
  asked.on("error", over);
  return { bytes: () => bytes, isPlaying: () => !isOver, leave: () => asked.destroy() };
}
