// The real binary with its simulated engines, on ports of the kernel's choice.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = new URL("../../../", import.meta.url).pathname;
const START_MS = 30_000;

export interface Appliance {
  url: string;
  pid: number;
  /** Content ids the demo plays. */
  ids: string[];
  stop: () => Promise<void>;
}

export async function start(env: Record<string, string> = {}): Promise<Appliance> {
  const data = await mkdtemp(join(tmpdir(), "sluice-panel-"));
  const binary = process.env["SLUICE_BINARY"] ?? join(process.env["CARGO_TARGET_DIR"] ?? join(ROOT, "target"), "debug/sluice");
  const child = spawn(binary, ["--demo"], {
    cwd: data,
    env: { PATH: process.env["PATH"] ?? "", APP_PORT: "0", BIND_ADDR: "127.0.0.1", SHARDS: "2", NO_COLOR: "1", DATA_DIR: data, API_KEY: "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const listening = new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the appliance did not start:\n${log}`)), START_MS);
    const onData = (chunk: Buffer) => {
      log += chunk.toString();
      const port = /listening .*port=(\d+)/.exec(log)?.[1];
      const hasIds = /getstream\?id=[0-9a-f]{40}[\s\S]*Ctrl-C/.test(log);
      if (port === undefined || !hasIds) return;
      clearTimeout(timer);
      resolve(port);
    };
    child.stdout.on("data", onData);
    child.stderr.on("data", onData);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the appliance ended with ${code}:\n${log}`)));
  });
  const port = await listening;
  const ids = [...log.matchAll(/getstream\?id=([0-9a-f]{40})/g)].map((match) => match[1] ?? "");
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
    await rm(data, { recursive: true, force: true });
  };
  return { url: `http://127.0.0.1:${port}/`, pid: child.pid ?? 0, ids, stop };
}
