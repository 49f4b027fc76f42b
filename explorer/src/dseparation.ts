/**
 * Does the graph make sites A independent of sites B, given others?
 *
 * By the moral ancestral graph (Lauritzen, Dawid, Larsen and Leimer 1990, Independence properties of directed Markov
 * fields): keep what A, B and the given sites depend on, join the parents of each child, and look for a path from A to B
 * that avoids what is given. Edges from one step of a scan to the next count as edges, so the answer holds for whole
 * sites, all elements and steps at once.
 *
 * Factors are always given, since a factor is a value of the likelihood; so are data and params, which are constants.
 * A deterministic is given once nothing random that is not given reaches it. A latent with a weight (a mask or a scale)
 * counts as something given below its parents: its term integrates to a function of them. `ir/dependence.py` has the
 * same rules.
 */

import type { Site, SiteKind } from "./types";

export interface Answer {
  separated: boolean;
  /** The sites of a path from A to B, where there is one. */
  path: string[];
  /** The same with arrows: "mu → theta ← tau". */
  drawn: string;
  /** Sites of the path that couple their parents, because they or something that they lead to is given. */
  colliders: string[];
  /** Sites of A and B that are constants once the given sites are known. */
  known: string[];
}

type Sites = ReadonlyMap<string, Site>;

export function separated(sites: Sites, a: readonly string[], b: readonly string[], given: readonly string[]): Answer {
  const known = whatIsGiven(sites, given);
  const weighted = [...sites.values()].filter((site) => site.weighted === true).map((site) => site.name);
  const among = ancestors(sites, [...a, ...b, ...known, ...weighted]);
  const links = moralLinks(sites, among);
  const path = shortest(a.filter((n) => !known.has(n)), new Set(b.filter((n) => !known.has(n))), known, links);
  const steps = path === null ? [] : withColliders(path, links);
  return {
    separated: path === null,
    path: steps,
    drawn: arrows(sites, steps),
    colliders: steps.filter((name) => path !== null && !path.includes(name)),
    known: [...new Set([...a, ...b])].filter((name) => known.has(name)),
  };
}

const CONSTANT = new Set<SiteKind>(["factor", "data", "param", "module"]);

/** The given sites, the constants, and every deterministic that no random site reaches but through those. */
export function whatIsGiven(sites: Sites, given: readonly string[]): Set<string> {
  const known = new Set(given);
  for (const site of sites.values()) if (CONSTANT.has(site.kind)) known.add(site.name);
  const random = new Set<string>();
  for (const site of sites.values()) if (site.kind !== "deterministic" && !known.has(site.name)) random.add(site.name);
  for (const name of random) {
    for (const child of sites.get(name)?.children ?? []) if (!known.has(child)) random.add(child);
  }
  for (const name of sites.keys()) if (!random.has(name)) known.add(name);
  return known;
}

function parents(site: Site): string[] {
  return [...new Set([...site.parents, ...site.temporal])];
}

function ancestors(sites: Sites, names: readonly string[]): Set<string> {
  const found = new Set<string>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const site = sites.get(name);
    if (site === undefined || found.has(name)) continue;
    found.add(name);
    open.push(...parents(site));
  }
  return found;
}

/** Neighbours in the moral graph; the value is the child through which two parents are joined, null for an edge. */
type Links = Map<string, Map<string, string | null>>;

function moralLinks(sites: Sites, among: ReadonlySet<string>): Links {
  const links: Links = new Map([...among].map((name) => [name, new Map()]));
  const join = (x: string, y: string, through: string | null) => {
    if (x === y) return;
    for (const [from, to] of [[x, y], [y, x]] as const) {
      const held = links.get(from);
      if (held !== undefined && (through === null || !held.has(to))) held.set(to, through);
    }
  };
  for (const name of among) {
    const above = parents(sites.get(name)!).filter((parent) => among.has(parent));
    above.forEach((parent) => join(parent, name, null));
    above.forEach((x, i) => above.slice(i + 1).forEach((y) => join(x, y, name)));
  }
  return links;
}

/** A shortest path that avoids what is known. */
function shortest(from: readonly string[], to: ReadonlySet<string>, known: ReadonlySet<string>, links: Links): string[] | null {
  const before = new Map<string, string | null>(from.map((name) => [name, null]));
  for (const name of before.keys()) {
    if (to.has(name)) return backwards(name, before);
    for (const next of links.get(name)?.keys() ?? []) if (!known.has(next) && !before.has(next)) before.set(next, name);
  }
  return null;
}

function backwards(last: string, before: ReadonlyMap<string, string | null>): string[] {
  const path: string[] = [];
  for (let name: string | null = last; name !== null; name = before.get(name) ?? null) path.unshift(name);
  return path;
}

function withColliders(path: readonly string[], links: Links): string[] {
  return path.flatMap((name, i) => {
    const through = i > 0 ? links.get(path[i - 1]!)?.get(name) : null;
    return through ? [through, name] : [name];
  });
}

function arrows(sites: Sites, steps: readonly string[]): string {
  return steps
    .map((name, i) => {
      if (i === 0) return name;
      const before = steps[i - 1]!;
      return parents(sites.get(name)!).includes(before) ? ` → ${name}` : ` ← ${name}`;
    })
    .join("");
}
