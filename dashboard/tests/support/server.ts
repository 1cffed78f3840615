// A small web server for the built mock, which answers as the appliance does: assets, and the page with its base for any other
// path. Below a path of its own, so that every test also proves that the panel works there.
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";

const TYPES: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
/** The same policy as the appliance's. */
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'self'";
const PREFIX = "/behind/a/proxy/panel/";

export async function serve(directory: string): Promise<{ url: string; close: () => Promise<void> }> {
  const server: Server = createServer((request, response) => {
    void (async () => {
      const { pathname } = new URL(request.url ?? "/", "http://localhost");
      if (!pathname.startsWith(PREFIX)) return response.writeHead(404).end();
      const path = pathname.slice(PREFIX.length);
      const type = TYPES[extname(path)];
      if (type) {
        const body = await readFile(join(directory, path)).catch(() => null);
        return body ? response.writeHead(200, { "content-type": type }).end(body) : response.writeHead(404).end();
      }
      const depth = path.split("/").length - 1;
      const page = await readFile(join(directory, "index.html"), "utf8");
      const base = depth === 0 ? "./" : "../".repeat(depth);
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": POLICY });
      return response.end(page.replace('<base href="./" />', `<base href="${base}" />`));
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => new Promise<void>((resolve) => {
    server.closeAllConnections();
    server.close(() => resolve());
  });
  return { url: `http://127.0.0.1:${port}${PREFIX}`, close };
}
