/**
 * The licences of what is bundled: read from the packages that the bundles took files of, and for the software inside
 * viz-js's WebAssembly, which comes without, from licenses/.
 */

import { readFile, readdir } from "node:fs/promises";

/** What is compiled into @viz-js/viz, as its lib/provenance.json and its README list it. */
const COMPILED = [
  { name: "Graphviz", file: "graphviz.txt", license: "EPL-2.0", home: "https://graphviz.org" },
  { name: "Expat", file: "expat.txt", license: "MIT", home: "https://libexpat.github.io" },
  { name: "Emscripten and its C library, musl", file: "emscripten.txt", license: "MIT", home: "https://emscripten.org" },
];

/** One notice for each package, in the order of their names. */
export async function notices(inputs) {
  const names = new Set(inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]).filter(Boolean));
  const packages = await Promise.all([...names].sort().map(ofPackage));
  const version = await versions();
  const inside = await Promise.all(COMPILED.map(async ({ file, ...fields }) => (
    { ...fields, version: version[fields.name] ?? "", text: await text(`licenses/${file}`) })));
  return [...packages, ...inside];
}

async function ofPackage(name) {
  const folder = `node_modules/${name}`;
  const { version, license, homepage, repository } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
  const file = (await readdir(folder)).find((each) => /^licen[cs]e(\.\w+)?$/i.test(each));
  const path = file === undefined ? `licenses/${name.replace(/^@/, "").replace("/", "-")}.txt` : `${folder}/${file}`;
  const home = homepage ?? (repository?.url ?? repository).replace(/^git\+/, "").replace(/\.git$/, "");
  return { name, version, license, home, text: await text(path) };
}

/** Of Graphviz and Expat, from where viz-js says that it took them. */
async function versions() {
  const { predicate } = JSON.parse(await readFile("node_modules/@viz-js/viz/lib/provenance.json", "utf8"));
  const taken = predicate.buildDefinition.resolvedDependencies.map(({ uri }) => uri).join("\n");
  return { Graphviz: /graphviz-([\d.]+)\.tar/.exec(taken)[1], Expat: /expat-([\d.]+)\.tar/.exec(taken)[1] };
}

async function text(path) {
  return (await readFile(path, "utf8")).replaceAll("\r\n", "\n").trim();
}

/** The same text under several packages is printed once, under all their names. */
function grouped(found) {
  const groups = new Map();
  for (const notice of found) groups.set(notice.text, [...(groups.get(notice.text) ?? []), notice]);
  return [...groups];
}

function title({ name, version, license, home }) {
  return `${[name, version].filter(Boolean).join(" ")} (${license}), ${home}`;
}

export function asText(found) {
  return grouped(found).map(([words, group]) => `${group.map(title).join("\n")}\n\n${words}\n`).join(`\n${"-".repeat(72)}\n\n`);
}

/** For the page's source. */
export function asComment(found) {
  return `<!--\nThis page contains:\n\n${asText(found).replaceAll("-->", "-- >")}-->`;
}

export function asMarkdown(found) {
  const rows = found.map(({ name, version, license, home }) => `| [${name}](${home}) | ${version} | ${license} |`);
  return [
    "# Software in the explorer's page", "",
    "`npm run build` writes this file, from the licence files of the packages and from `licenses/`.", "",
    "| software | version | licence |", "|---|---|---|", ...rows, "",
    "```text", asText(found).trimEnd(), "```", "",
  ].join("\n");
}
