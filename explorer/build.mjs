/**
 * Builds ../runtime/explore/page.html: one file with everything in it but the data and the title.
 *
 * The same sources give the same bytes on every machine: versions are exact, and the compressor is written in JavaScript
 * (that of node differs between processors).
 */

import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";
import { gzipSync } from "fflate";
import { asComment, asMarkdown, asText, notices } from "./notices.mjs";

const TARGET = ["chrome103", "firefox113", "safari16.4"];
const OUT = new URL("../runtime/explore/page.html", import.meta.url);

async function bundled(entry, options = {}) {
  const result = await build({
    entryPoints: [entry], bundle: true, minify: true, write: false, format: "iife", target: TARGET,
    charset: "utf8", legalComments: "none", metafile: true, outdir: "out", logLevel: "error", ...options,
  });
  return { text: result.outputFiles[0].text.trimEnd(), inputs: Object.keys(result.metafile.inputs) };
}

function packed(text) {
  return Buffer.from(gzipSync(new TextEncoder().encode(text), { level: 9, mtime: 0 })).toString("base64");
}

function digest(text) {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

/** Each place once, in order, and what is put there is not searched again. */
function filled(template, values) {
  return template.replace(/\{\{(\w+)\}\}/g, (place, name) => values[name] ?? place);
}

const script = await bundled("src/main.tsx", { jsx: "automatic", jsxImportSource: "preact" });
// The worker is a classic script without an address of its own; its binary stands in the bundle.
const worker = await bundled("src/layout/worker.ts", { define: { "import.meta.url": '"about:blank"' } });
const style = await bundled("src/style.css");
if (/<\/script|<!--|\{\{(title|data)\}\}/i.test(script.text)) throw new Error("the script would end its element");
if (/<\/style/i.test(style.text)) throw new Error("the style would end its element");

const policy = [
  "default-src 'none'",
  `script-src ${digest(script.text)} 'wasm-unsafe-eval'`,
  `style-src ${digest(style.text)}`,
  "worker-src blob:",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const found = await notices([...script.inputs, ...worker.inputs, ...style.inputs]);
const page = filled(await readFile("src/page.html", "utf8"), {
  policy, style: style.text, script: script.text, worker: packed(worker.text), notices: packed(asText(found)),
});
await writeFile(OUT, page.replace("<html", () => `${asComment(found)}\n<html`));
await writeFile("LICENSES.md", asMarkdown(found));
