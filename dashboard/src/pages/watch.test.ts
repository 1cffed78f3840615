import { expect, test } from "vitest";
import { idOf } from "./watch";

const ID = "0123456789abcdef0123456789abcdef01234567";

/** Guards: an id is found in what people paste, and nothing else is taken for one. */
test("ids are found", () => {
  for (const text of [ID, ` ${ID.toUpperCase()}\n`, `acestream://${ID}`, `http://host:6878/ace/getstream?id=${ID}&pid=1`, `magnet:?xt=urn:btih:${ID}`, `http://h/ace/manifest.m3u8?infohash=${ID}`]) {
    expect(idOf(text), text).toBe(ID);
  }
  for (const text of ["", "nonsense", ID.slice(1), `${ID}0`, `acestream://${ID}0`, `x?sid=${ID.slice(1)}`]) expect(idOf(text), text).toBeNull();
});
