// Before the tests in the browser: the mock is built, unless it is already.
import { build } from "vite";

export default async function setup(): Promise<void> {
  if (process.env["SLUICE_MOCK_BUILT"]) return;
  await build({ mode: "mock", logLevel: "error" });
}
