/**
 * What `plait explore` writes into the page: the schema "plait.explorer/1".
 *
 * This file is the contract between the Python side, which makes the data, and the page, which only shows it. Every
 * list may be empty and every `null` occurs. A number that is not finite is "nan", "inf" or "-inf", since JSON has none.
 * Every string may hold anything that a user can name a site: it is text, never markup, and never a key of a plain object.
 */

export type Num = number | "nan" | "inf" | "-inf" | (string & {});

export type SiteKind = "latent" | "observed" | "factor" | "deterministic" | "param" | "data" | "module";

export interface Page {
  schema: "plait.explorer/1";
  title: string;
  plait: string;
  jax: string;
  precision: string;
  /** The user's file; null for a saved model without its source, and then `no_source` is the sentence to show. */
  source: null | Source;
  no_source: string;
  /** Graphviz attributes of a node by kind: {shape: "ellipse", style: "dashed"}. Colours are the page's own. */
  styles: Record<string, Record<string, string>>;
  stages: Stage[];
  sites: Site[];
  plates: Plate[];
  terms: Term[];
  notes: string[];
  points: Point[];
  hessian: null | Hessian;
  no_hessian: string;
  coupling: Coupling[];
  /** Operations of a call before and after the passes. */
  totals: { flops: [number, number] };
}

export interface Source {
  file: string;
  /** Number of the first line of `text` in the file. */
  first_line: number;
  text: string;
}

export type Stage = GraphStage | TextStage;

/** A graph after a pass: "trace", "simplify", …; the last one is the density graph. */
export interface GraphStage {
  kind: "graph";
  name: string;
  /** One sentence: what this pass does. */
  about: string;
  nodes: number;
  operations: number | null;
  /** Not changed: picture and text are those of the stage before, and `pictures` and `lines` are null. */
  changed: boolean;
  pictures: null | Record<Detail, Picture | Refused>;
  lines: null | TextLine[];
  /** Lines of the stage before that are gone. */
  removed: string[];
}

/** A program as text alone: "StableHLO", "optimized HLO". */
export interface TextStage {
  kind: "text";
  name: string;
  about: string;
  lines: TextLine[];
}

export type Detail = "sites" | "code" | "equations";

/** A picture that was not made, and why. */
export interface Refused {
  refused: string;
}

export interface TextLine {
  text: string;
  /** Id of the node in the pictures. */
  node: string | null;
  /** The site whose code it is. */
  site: string | null;
  /** Number of the line in the source. */
  line: number | null;
  new: boolean;
}

export interface Picture {
  nodes: PNode[];
  edges: PEdge[];
  boxes: Box[];
}

export interface PNode {
  id: string;
  /** latent observed factor deterministic param module data code value log_prob kernel fused hoist scan cond const plate … */
  kind: string;
  /** First line, bold. */
  name: string;
  /** Second line: "~ Normal(mu, tau)". */
  text: string;
  /** "f64[schools:8]" */
  type: string;
  support: string | null;
  site: string | null;
  line: number | null;
  /** The innermost box it stands in. */
  box: string | null;
  new: boolean;
  /** How many sites a loop made of it, which are drawn as one. */
  count: number | null;
}

export interface PEdge {
  from: string;
  to: string;
  /** From one step of a scan to the next. */
  temporal: boolean;
}

export interface Box {
  id: string;
  /** "schools 8", "persons 5 × items 3", "rows 32 of 1000" */
  label: string;
  in: string | null;
  kind: "plate" | "scan" | "branch";
}

export interface Site {
  name: string;
  kind: SiteKind;
  text: string;
  shape: string;
  support: string | null;
  line: number | null;
  plates: string[];
  /** Names of the user's that this one stands for. */
  members: string[];
  parents: string[];
  children: string[];
  /** Parents by temporal edges: read by the next step of a scan. */
  temporal: string[];
  blanket: string[];
  /** Of a latent: a mask or a scale weighs its term. Absent: no. */
  weighted?: boolean;
}

export interface Plate {
  name: string;
  size: number;
  /** Where a minibatch is taken from so many rows. */
  full_size: number | null;
  sites: string[];
}

export interface Term {
  name: string;
  site: string;
  kind: "term" | "jacobian";
  /** As the user wrote it, and what is evaluated. */
  text: string;
  evaluated: string;
  /** The rule of fusion that took it; else those that refused, and the edit that would let one. */
  rule: string | null;
  refusals: { rule: string; reason: string }[];
  edit: string;
  /** Before and after, for one call. */
  rows: [number, number];
  flops: [number, number];
  bytes: [number, number];
  /** Evaluated once for a data set, or at every call. */
  stage: "prepare" | "call";
  line: number | null;
}

/** The log density at one point, in nats. */
export interface Point {
  name: string;
  total: Num;
  values: Record<string, unknown>;
  /** By `Term.name`. */
  terms: Record<string, Num>;
  /** The first −inf or NaN. */
  first: null | { site: string | null; where: string; sentence: string; line: number | null };
}

export interface Hessian {
  dim: number;
  /** Names of the entries of the flat vector. */
  entries: string[];
  blocks: { site: string; offset: number; size: number }[];
  /** Row ≥ column. */
  nonzeros: [number, number][];
  about: string;
}

/** How the Hessian couples two plates. */
export interface Coupling {
  a: string;
  b: string;
  how: "none" | "diagonal" | "sparse" | "dense";
  along: string | null;
}
