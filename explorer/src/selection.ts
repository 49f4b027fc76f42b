/** What a click selects, and what of the picture belongs to the selection. */

import type { DNode } from "./layout/fold";
import type { Selection } from "./state";

/** The site whose code it is; else the node itself, or its line. */
export function selectionOf(of: { site: string | null; node: string | null; line: number | null }): Selection {
  if (of.site !== null) return { sites: [of.site], node: of.node, line: null };
  return { sites: [], node: of.node, line: of.line };
}

export function isSelected(node: DNode, selection: Selection): boolean {
  if (node.folded !== null) {
    const { sites, nodes } = node.folded;
    return selection.sites.some((name) => sites.has(name)) || (selection.node !== null && nodes.has(selection.node));
  }
  if (selection.node === node.id) return true;
  if (node.site !== null && selection.sites.includes(node.site)) return true;
  return selection.line !== null && node.line === selection.line;
}

/** Whether a node shows one of some sites: its code does not, a folded box that holds one does. */
export function shows(node: DNode, sites: ReadonlySet<string>): boolean {
  if (node.folded !== null) return [...node.folded.sites].some((name) => sites.has(name));
  return node.site !== null && sites.has(node.site) && SITES.has(node.kind);
}

/** Kinds that are the site itself, before and after the pass that makes its density of it. */
const SITES = new Set(["latent", "observed", "factor", "deterministic", "param", "data", "module", "value", "log_prob"]);
