/** A picture with some of its boxes drawn as one node, or with the surroundings of some nodes alone. */

import { counted } from "../format";
import type { Box, PEdge, Picture, PNode } from "../types";

/** A node of what is drawn: of the picture, or one that stands for a folded box. */
export interface DNode extends PNode {
  /** The box, and the sites and nodes that are in it. */
  folded: null | { box: string; sites: ReadonlySet<string>; nodes: ReadonlySet<string> };
}

export interface Shown extends Picture {
  nodes: DNode[];
}

export function plain(picture: Picture): Shown {
  return { ...picture, nodes: picture.nodes.map((node) => ({ ...node, folded: null })) };
}

/** Every folded box becomes a node, with the edges of what is in it. */
export function fold(picture: Picture, folded: ReadonlySet<string>): Shown {
  const boxes = new Map(picture.boxes.map((box) => [box.id, box]));
  const outermost = (id: string | null): Box | null => {
    let found: Box | null = null;
    for (let box = boxes.get(id ?? ""); box !== undefined; box = boxes.get(box.in ?? "")) if (folded.has(box.id)) found = box;
    return found;
  };
  const inside = new Map<string, PNode[]>();
  const standsFor = new Map<string, string>();
  const nodes: DNode[] = [];
  for (const node of picture.nodes) {
    const box = outermost(node.box);
    if (box === null) {
      nodes.push({ ...node, folded: null });
      continue;
    }
    standsFor.set(node.id, idOf(box));
    const held = inside.get(box.id);
    if (held !== undefined) held.push(node);
    else {
      inside.set(box.id, [node]);
      nodes.push(standIn(box, inside.get(box.id)!));
    }
  }
  const drawn = nodes.map((node) => (node.folded === null ? node : standIn(boxes.get(node.folded.box)!, inside.get(node.folded.box)!)));
  const kept = picture.boxes.filter((box) => outermost(box.id) === null);
  return { nodes: drawn, edges: merged(picture.edges, standsFor), boxes: kept };
}

function idOf(box: Box): string {
  return `folded ${box.id}`;
}

function standIn(box: Box, inside: readonly PNode[]): DNode {
  const sites = new Set(inside.map((node) => node.site).filter((name) => name !== null));
  const text = sites.size > 0 ? counted(sites.size, "site") : counted(inside.length, "node");
  return {
    id: idOf(box), kind: "folded", name: box.label, text, type: "", support: null, site: null, line: null,
    box: box.in, new: inside.some((node) => node.new), count: null,
    folded: { box: box.id, sites, nodes: new Set(inside.map((node) => node.id)) },
  };
}

/** Edges between what stands for their ends, each once, and none from a folded box to itself. */
function merged(edges: readonly PEdge[], standsFor: ReadonlyMap<string, string>): PEdge[] {
  const seen = new Map<string, PEdge>();
  for (const edge of edges) {
    const [from, to] = [standsFor.get(edge.from) ?? edge.from, standsFor.get(edge.to) ?? edge.to];
    if (from === to && (standsFor.has(edge.from) || standsFor.has(edge.to))) continue;
    seen.set(JSON.stringify([from, to, edge.temporal]), { from, to, temporal: edge.temporal });
  }
  return [...seen.values()];
}

/** The nodes nearest to some, at most so many, along edges in both directions. */
export function neighbourhood(picture: Shown, around: ReadonlySet<string>, limit: number): Shown {
  const next = new Map<string, string[]>(picture.nodes.map((node) => [node.id, []]));
  for (const { from, to } of picture.edges) {
    next.get(from)?.push(to);
    next.get(to)?.push(from);
  }
  const start = around.size > 0 ? picture.nodes.filter((node) => around.has(node.id)) : picture.nodes.slice(0, 1);
  const near = new Set(start.slice(0, limit).map((node) => node.id));
  for (const id of near) {
    for (const other of next.get(id) ?? []) if (near.size < limit && next.has(other)) near.add(other);
  }
  const nodes = picture.nodes.filter((node) => near.has(node.id));
  return {
    nodes,
    edges: picture.edges.filter((edge) => near.has(edge.from) && near.has(edge.to)),
    boxes: holding(picture.boxes, nodes),
  };
}

/** The boxes that some node stands in, directly or deeper. */
function holding(boxes: readonly Box[], nodes: readonly PNode[]): Box[] {
  const byId = new Map(boxes.map((box) => [box.id, box]));
  const used = new Set<string>();
  for (const node of nodes) {
    for (let box = byId.get(node.box ?? ""); box !== undefined; box = byId.get(box.in ?? "")) used.add(box.id);
  }
  return boxes.filter((box) => used.has(box.id));
}
