// Text that strangers wrote: names of streams, agents of players, labels of engines.

/** Characters that change the direction or the place of what follows, or show nothing at all. */
const TRICKS = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;
const SHOWN_MAX = 300;

/** The same text, harmless: no control characters, no change of direction, no more than a line takes. */
export function plain(text: string): string {
  const cut = text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
  return cut.replace(TRICKS, "\u00b7");
}

/** The beginning of a long number, as people compare them. */
export function short(id: string): string {
  if (/^[0-9a-f]{40}/i.test(id)) return `${id.slice(0, 8)}…${id.slice(36, 40)}`;
  return /^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(id) ? `${id.slice(0, 8)}…` : plain(id);
}
