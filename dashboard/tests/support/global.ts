// Before the tests in the browser: the mock is built, unless it is already.
import { build } from "vite";

export default async function setup(): Promise<void> {
  if (process.env["SLUICE_MOCK_BUILT"]) return;
  // A test's own environment would have the panel built as for its writers, several times as slow.
  const kept = process.env["NODE_ENV"];
  process.env["NODE_ENV"] = "production";
  await build({ mode: "mock", logLevel: "error" });
  process.env["NODE_ENV"] = kept;
}
