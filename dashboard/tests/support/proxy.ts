// A reverse proxy as operators put one in front: TLS outside, a path of its own, and everything that can be cut in between.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = "/tv/sluice/";

export interface Proxy {
  /** Where the appliance is to be found. */
  url: string;
  /** Cuts whatever is under way to paths that begin so, and answers them as a proxy does whose appliance is gone. */
  cut: (path: string) => void;
  /** Lets everything through again. */
  mend: () => void;
  /** Headers of the requests that were let through to a path, in order. */
  heads: (path: string) => readonly IncomingHttpHeaders[];
  close: () => Promise<void>;
}

/** A key and a certificate that nobody trusts. */
function certificate(): { key: Buffer; cert: Buffer } {
  const directory = mkdtempSync(join(tmpdir(), "sluice-proxy-"));
  const [key, cert] = [join(directory, "key"), join(directory, "cert")];
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout ${key} -out ${cert}`;
  execFileSync("openssl", words.split(" "), { stdio: "pipe" });
  const made = { key: readFileSync(key), cert: readFileSync(cert) };
  rmSync(directory, { recursive: true });
  return made;
}

export async function proxy(target: string): Promise<Proxy> {
  const asked: { path: string; headers: IncomingHttpHeaders }[] = [];
  const open = new Map<ServerResponse, string>();
  let isCut: string | null = null;
  const server = createServer(certificate(), (incoming, outgoing) => {
    const path = incoming.url ?? "";
    const isOurs = path.startsWith(PREFIX);
    const below = path.slice(PREFIX.length);
    if (!isOurs || (isCut !== null && below.startsWith(isCut))) {
      return void outgoing.writeHead(isOurs ? 502 : 404, { "content-type": "text/html" }).end("<h1>nobody is there</h1>");
    }
    asked.push({ path: below, headers: incoming.headers });
    open.set(outgoing, below);
    outgoing.on("close", () => open.delete(outgoing));
    const headers = { ...incoming.headers, "x-forwarded-proto": "https", "x-forwarded-for": "127.0.0.1" };
    const inner = request(new URL(below, target), { method: incoming.method, headers, agent: false }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
      answer.on("error", () => outgoing.destroy());
    });
    inner.on("error", () => outgoing.destroy());
    outgoing.on("close", () => inner.destroy());
    incoming.pipe(inner);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}${PREFIX}`,
    cut: (path) => {
      isCut = path;
      for (const [outgoing, below] of open) if (below.startsWith(path)) outgoing.destroy();
    },
    mend: () => (isCut = null),
    heads: (path) => asked.filter((one) => one.path.startsWith(path)).map(({ headers }) => headers),
    close: () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
