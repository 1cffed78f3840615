import { expect, test, vi } from "vitest";
import { faultOf, NetworkApi } from "./network";

const ROOT = new URL("https://tv.example/under/here/");

function answering(answer: Response | Error) {
  const calls: { url: string; init: RequestInit }[] = [];
  const fetched = vi.fn((url: RequestInfo | URL, init: RequestInit = {}) => {
    calls.push({ url: String(url), init });
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  });
  return { api: new NetworkApi(ROOT, fetched as unknown as typeof fetch), calls };
}

const signal = () => new AbortController().signal;

/** Guards: everything is asked below the path the panel itself was found at. */
test("requests stay below the panel's own path", async () => {
  const { api, calls } = answering(new Response('{"sessions":[]}', { headers: { date: "Thu, 01 Jan 2026 00:00:00 GMT" } }));
  expect(await api.streams(signal())).toEqual({ status: "success", value: { value: [], at: Date.parse("2026-01-01T00:00:00Z") } });
  expect(calls[0]?.url).toBe("https://tv.example/under/here/proxy/status");
  expect(api.playUrl("a b", "hls")).toBe("https://tv.example/under/here/ace/manifest.m3u8?id=a%20b");
});

/** Guards: a write names the panel, so that a page of another origin cannot make it with our cookie. */
test("writes carry the panel's mark", async () => {
  const { api, calls } = answering(new Response("{}", { status: 202 }));
  expect((await api.move("k/1", "e:1")).status).toBe("success");
  expect(calls[0]?.url).toBe("https://tv.example/under/here/proxy/sessions/k%2F1/move");
  expect(calls[0]?.init.headers).toMatchObject({ "X-Sluice-Panel": "1" });
  expect(JSON.parse(String(calls[0]?.init.body))).toMatchObject({ engine: "e:1" });
});

/** Guards: each way to fail is told apart, with the server's own words. */
test("faults keep the server's words", async () => {
  expect(faultOf(401, '{"detail":"no key"}')).toMatchObject({ kind: "key_missing", message: "no key" });
  expect(faultOf(404, '{"detail":"Not Found"}').kind).toBe("no_route");
  expect(faultOf(404, '{"detail":"Session x not found"}')).toMatchObject({ kind: "not_found", message: "Session x not found" });
  expect(faultOf(502, "<html>bad gateway</html>").kind).toBe("unreachable");
  expect(faultOf(503, '{"error":"every engine is busy","code":"max_capacity"}')).toMatchObject({ kind: "refused", message: "every engine is busy" });
  const invalid = faultOf(422, '{"detail":[{"loc":["body","port"],"msg":"too large"}]}');
  expect(invalid).toMatchObject({ kind: "refused", message: "port: too large", fields: { port: "too large" } });
  const { api } = answering(new TypeError("Failed to fetch"));
  expect(await api.streams(signal())).toMatchObject({ status: "error", fault: { kind: "unreachable" } });
});

/** Guards: an answer that is no JSON, or of another shape, is a fault and not an empty list. */
test("an answer of another shape is not an empty one", async () => {
  for (const body of ["<html>", "{}", '{"sessions":{}}', '{"sessions":[{}]}']) {
    const { api } = answering(new Response(body));
    expect(await api.streams(signal())).toMatchObject({ status: "error", fault: { kind: "broken" } });
  }
});
