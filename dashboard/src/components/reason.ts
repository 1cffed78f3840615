// Why something ended, was refused or failed, in the reader's words.
import { isMessage, t } from "../messages";

/** Other programs' words for what has a word here. */
const SAME: Record<string, string> = { manual_stop_via_api: "stopped", batch_stop_via_api: "stopped", looping_stream: "looping" };

export function reasonText(reason: string | null): string {
  const known = reason === null ? "unknown" : reason.startsWith("loop_detection_") ? "looping" : (SAME[reason] ?? reason);
  const name = `reason.${known}`;
  return isMessage(name) ? t(name) : (reason ?? "");
}
