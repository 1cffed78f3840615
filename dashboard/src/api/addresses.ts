// Where things of the appliance are, for links and players.
import type { Delivery } from "./api";

export class Addresses {
  /** `root` is where the API is: one above the panel. */
  constructor(private readonly root: URL) {}

  url(path: string): string {
    return new URL(path, this.root).href;
  }

  playUrl(id: string, delivery: Delivery): string {
    const route = delivery === "hls" ? "ace/manifest.m3u8" : "ace/getstream";
    return this.url(`${route}?id=${encodeURIComponent(id)}`);
  }
}
