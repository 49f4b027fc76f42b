/** Where everything of a picture stands: what a layout gives back. Lengths are CSS pixels, y grows downwards. */

import type { Graph } from "@viz-js/viz";

export interface Drawing {
  width: number;
  height: number;
  /** By the index of the node in the picture: its centre. */
  nodes: { x: number; y: number }[];
  /** By the index of the edge: the path of the line, and the points of its arrow head. */
  edges: { line: string; head: string }[];
  /** By the index of the box; null for one without nodes. */
  boxes: ({ x: number; y: number; width: number; height: number } | null)[];
}

export interface Size {
  width: number;
  height: number;
}

/** How many there are of each, since Graphviz leaves out what it does not draw. */
export interface Counts {
  nodes: number;
  edges: number;
  boxes: number;
}

export interface Request {
  job: number;
  graph: Graph;
  counts: Counts;
}

export type Reply = { job: number; drawing: Drawing } | { job: number; error: string };
