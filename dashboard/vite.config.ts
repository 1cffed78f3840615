// How the panel is built, served while it is written, and tested.
//
// The production build goes to dist/panel, which the binary embeds; beside every asset lie its gzip and Brotli forms, so that
// the appliance never compresses. The mock build (`--mode mock`) is the same panel on invented data and goes to dist/mock.
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Smaller files gain nothing. */
const COMPRESSED_BYTES_MIN = 512;

function precompress(directory: string): Plugin {
  const compressGzip = promisify(gzip);
  const compressBrotli = promisify(brotliCompress);
  return {
    name: "precompress",
    apply: "build",
    async closeBundle() {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile() && /\.(js|css|svg|json)$/.test(entry.name));
      await Promise.all(
        files.map(async (file) => {
          const path = join(file.parentPath ?? file.path, file.name);
          const bytes = await readFile(path);
          if (bytes.length < COMPRESSED_BYTES_MIN) return;
          const params = { [constants.BROTLI_PARAM_QUALITY]: 11 };
          await writeFile(`${path}.gz`, await compressGzip(bytes, { level: 9 }));
          await writeFile(`${path}.br`, await compressBrotli(bytes, { params }));
        }),
      );
    },
  };
}

/** Mounts the panel on the mock instead of the network. */
function mockEntry(): Plugin {
  return {
    name: "mock-entry",
    transformIndexHtml: {
      order: "pre",
      handler: (html) => html.replace("/src/main.tsx", "/src/mock.tsx"),
    },
  };
}

export default defineConfig(({ mode }) => {
  const isMock = mode === "mock";
  const outDir = isMock ? "dist/mock" : "dist/panel";
  return {
    // Everything is found relative to the page, so that any path in front of the panel works.
    base: "./",
    plugins: [react(), precompress(outDir), ...(isMock ? [mockEntry()] : [])],
    build: {
      outDir,
      emptyOutDir: true,
      target: "es2022",
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
      chunkSizeWarningLimit: 1200,
    },
    server: {
      // `npm run dev` against an appliance on the default port.
      proxy: Object.fromEntries(
        [..."proxy api ace metrics version health engines streams events settings custom-variant looping-streams".split(" "), ..."stream-loop-detection orchestrator vpn provision scale containers panel/session openapi.json".split(" ")].map((name) => `/${name}`).map(
          (path) => [path, process.env["SLUICE_URL"] ?? "http://127.0.0.1:8000"],
        ),
      ),
    },
    test: {
      // Of the browser's tests two files at a time: they mostly wait.
      poolOptions: { forks: { minForks: 1, maxForks: 2 } },
      projects: [
        {
          extends: true,
          test: {
            name: "unit",
            environment: "jsdom",
            include: ["src/**/*.test.{ts,tsx}"],
            setupFiles: ["src/testing/setup.ts"],
            // One page for all files: making one costs more than all tests in it.
            pool: "threads",
            isolate: false,
            poolOptions: { threads: { singleThread: true } },
          },
        },
        {
          extends: true,
          test: {
            name: "browser",
            environment: "node",
            include: ["tests/**/*.test.ts"],
            globalSetup: ["tests/support/global.ts"],
            testTimeout: 180_000,
            hookTimeout: 120_000,
            pool: "forks",
          },
        },
      ],
    },
  };
});
