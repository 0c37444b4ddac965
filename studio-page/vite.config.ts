import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const SOURCES = ["index.html", "package-lock.json", "package.json", "public", "src", "svelte.config.js", "tsconfig.json", "vite.config.ts"];

function filesOf(path: string): string[] {
  try {
    return readdirSync(path).toSorted().flatMap((name) => filesOf(join(path, name)));
  } catch {
    return [path]; // not a folder
  }
}

/** Write the hash of all sources beside the page, so that a test without Node sees when the page is older than they are. */
function builtFrom(): Plugin {
  return {
    name: "built-from",
    generateBundle() {
      const hash = createHash("sha256");
      for (const path of SOURCES.flatMap(filesOf).toSorted()) hash.update(path.replaceAll("\\", "/") + "\0").update(readFileSync(path)).update("\0");
      this.emitFile({ type: "asset", fileName: "built-from.txt", source: `${hash.digest("hex")}\n` });
    },
  };
}

// The built page lies in the repository, so a fresh build must give the same bytes: names come from contents alone, and
// nothing is inlined as data: addresses, which the studio's content policy refuses.
export default defineConfig({
  plugins: [svelte(), builtFrom()],
  base: "/",
  build: {
    outDir: "../src/handmade/studio/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: { proxy: { "/api": "http://127.0.0.1:8787", "/v1": "http://127.0.0.1:8787" } },
});
