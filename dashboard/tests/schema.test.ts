import { readFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import { expect, test } from "vitest";

/** Guards: the generated types are those of the API description that is checked in; `npm run generate` writes them anew. */
test("the types are generated from the description", async () => {
  const description = new URL("../../docs/reference/openapi.json", import.meta.url);
  const made = astToString(await openapiTS(description));
  const found = await readFile(new URL("../src/api/schema.d.ts", import.meta.url), "utf8");
  expect(found.endsWith(made)).toBe(true);
});
