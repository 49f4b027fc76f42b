/**
 * A picture as a graph for Graphviz, and what Graphviz says of it as a drawing.
 *
 * Graphviz gets numbers only: nodes are n0, n1, … with the sizes that the browser measured, boxes are clusters with room
 * for a label. What the user named never reaches it, so nothing needs quoting there, and fonts agree.
 */

import type { Graph, Subgraph } from "@viz-js/viz";
import type { Picture } from "../types";
import type { Counts, Drawing, Size } from "./drawing";
import type { Shape } from "./measure";

const POINTS = 72;
/** Beyond these sizes straight lines, and fewer rounds of the network simplex: a second instead of a minute. */
const LARGE = 250;
/** Where an edge ends at a shape; the hexagon's corners are ours. */
const OUTLINES: Record<Shape, string> = {
  ellipse: "ellipse", diamond: "diamond", box: "box", rounded: "box", hexagon: "box", cylinder: "box", plain: "box",
};

export function toGraphviz(picture: Picture, nodes: readonly (Size & { shape: Shape })[], labels: readonly Size[]): Graph {
  const index = new Map(picture.nodes.map((node, i) => [node.id, i]));
  const boxes = new Map(picture.boxes.map((box, i) => [box.id, i]));
  const inside: number[][] = picture.boxes.map(() => []);
  const nested: number[][] = picture.boxes.map(() => []);
  const top: number[] = [];
  picture.nodes.forEach((node, i) => (inside[boxes.get(node.box ?? "") ?? -1] ?? top).push(i));
  const roots: number[] = [];
  picture.boxes.forEach((box, i) => (nested[boxes.get(box.in ?? "") ?? -1] ?? roots).push(i));

  const node = (i: number) => ({
    name: `n${i}`,
    attributes: { shape: OUTLINES[nodes[i]!.shape], width: inches(nodes[i]!.width), height: inches(nodes[i]!.height) },
  });
  const cluster = (i: number): Subgraph => ({
    name: `cluster_${i}`,
    graphAttributes: { label: room(labels[i]!), labeljust: "r", labelloc: "b", margin: 10 },
    nodes: inside[i]!.map(node),
    subgraphs: nested[i]!.map(cluster),
  });
  const lengths = staggered(picture);
  const large = picture.nodes.length > LARGE;
  return {
    directed: true,
    graphAttributes: {
      ranksep: 0.42,
      nodesep: 0.22,
      splines: large ? "polyline" : "true",
      ...(large ? { nslimit: 2, nslimit1: 2, mclimit: 0.5, searchsize: 10 } : {}),
    },
    nodeAttributes: { label: "", fixedsize: "true" },
    edgeAttributes: { arrowsize: 0.6 },
    nodes: top.map(node),
    subgraphs: roots.map(cluster),
    edges: picture.edges.flatMap((edge, i) => {
      const [tail, head] = [index.get(edge.from), index.get(edge.to)];
      if (tail === undefined || head === undefined) return [];
      return [{ tail: `n${tail}`, head: `n${head}`, attributes: { id: i, constraint: !edge.temporal, minlen: lengths[i]! } }];
    }),
  };
}

/** So many parents of one child stand side by side. */
const ABREAST = 6;

/**
 * How many ranks each edge spans. Roots that have one child alone would all stand in one rank, too wide to be read;
 * where there are many, they take turns in several.
 */
function staggered({ edges }: Picture): number[] {
  const leaving = new Map<string, number>();
  for (const { from } of edges) leaving.set(from, (leaving.get(from) ?? 0) + 1);
  const below = new Set(edges.map(({ to }) => to));
  const only = edges.map(({ from }) => !below.has(from) && leaving.get(from) === 1);
  const entering = new Map<string, number>();
  edges.forEach(({ to }, i) => only[i] && entering.set(to, (entering.get(to) ?? 0) + 1));
  const turn = new Map<string, number>();
  return edges.map(({ to }, i) => {
    const many = entering.get(to) ?? 0;
    if (!only[i] || many <= ABREAST) return 1;
    const at = turn.get(to) ?? 0;
    turn.set(to, at + 1);
    return 1 + (at % Math.ceil(many / ABREAST));
  });
}

function inches(pixels: number): number {
  return Math.round((pixels / POINTS) * 1000) / 1000;
}

/** An empty label of a size. */
function room({ width, height }: Size): { html: string } {
  const size = `fixedsize="true" width="${Math.ceil(width)}" height="${Math.ceil(height)}"`;
  return { html: `<table border="0" cellborder="0" cellspacing="0" cellpadding="0"><tr><td ${size}></td></tr></table>` };
}

/** What Graphviz writes in the format json0: positions as strings, in points. */
export interface Laid {
  bb: string;
  objects?: { name: string; pos?: string; bb?: string }[];
  edges?: { id: string; pos?: string }[];
}

export function toDrawing(laid: Laid, counts: Counts): Drawing {
  const [left, , right] = numbers(laid.bb);
  const [, low, , high] = numbers(laid.bb);
  const top = Math.min(low!, high!);
  const place = (x: number, y: number) => ({ x: round(x - left!), y: round(y - top) });
  const drawing: Drawing = {
    width: right! - left!,
    height: Math.abs(high! - low!),
    nodes: Array.from({ length: counts.nodes }, () => ({ x: 0, y: 0 })),
    edges: Array.from({ length: counts.edges }, () => ({ line: "", head: "" })),
    boxes: Array.from({ length: counts.boxes }, () => null),
  };
  for (const { name, pos, bb } of laid.objects ?? []) {
    if (name.startsWith("cluster_") && bb !== undefined) {
      const [x0, y0, x1, y1] = numbers(bb) as [number, number, number, number];
      const corner = place(Math.min(x0, x1), Math.min(y0, y1));
      drawing.boxes[Number(name.slice(8))] = { ...corner, width: Math.abs(x1 - x0), height: Math.abs(y1 - y0) };
    } else if (pos !== undefined) {
      const [x, y] = numbers(pos) as [number, number];
      drawing.nodes[Number(name.slice(1))] = place(x, y);
    }
  }
  for (const { id, pos } of laid.edges ?? []) if (pos !== undefined) drawing.edges[Number(id)] = spline(pos, place);
  return drawing;
}

type Place = (x: number, y: number) => { x: number; y: number };

/** "e,x,y x,y x,y …": the tip of the arrow, then a cubic spline. */
function spline(pos: string, place: Place): { line: string; head: string } {
  const parts = pos.split(" ").filter((part) => !part.startsWith("s,"));
  const at = (part: string) => {
    const [x, y] = numbers(part.replace(/^e,/, ""));
    return place(x!, y!);
  };
  const tip = parts.find((part) => part.startsWith("e,"));
  const points = parts.filter((part) => part !== tip).map(at);
  const [first, ...rest] = points;
  const line = `M${first!.x},${first!.y}C${rest.map((p) => `${p.x},${p.y}`).join(" ")}`;
  return { line, head: tip === undefined ? "" : arrow(points.at(-1)!, at(tip)) };
}

function arrow(from: { x: number; y: number }, tip: { x: number; y: number }): string {
  const [dx, dy] = [tip.x - from.x, tip.y - from.y];
  const [nx, ny] = [-dy * 0.38, dx * 0.38];
  const points = [[tip.x, tip.y], [from.x + nx, from.y + ny], [from.x - nx, from.y - ny]];
  return points.map(([x, y]) => `${round(x!)},${round(y!)}`).join(" ");
}

function numbers(text: string): number[] {
  return text.split(",").map(Number);
}

function round(x: number): number {
  return Math.round(x * 10) / 10;
}
