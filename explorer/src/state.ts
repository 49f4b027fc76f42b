/** What the reader has chosen. There is one selection, and every pane shows it. */

import type { Model } from "./model";
import type { Detail } from "./types";

export const DETAILS: readonly Detail[] = ["sites", "code", "equations"];
export const TABS = ["selection", "terms", "point", "independence", "coupling", "text"] as const;
export type Tab = (typeof TABS)[number];
export type Pane = "source" | "graph" | "details";
export type Role = "a" | "b" | "given";
export type Question = Record<Role, readonly string[]> & { picking: Role };

/** Sites; or a node of the picture or a line of the source that belongs to no site. */
export interface Selection {
  sites: readonly string[];
  node: string | null;
  line: number | null;
}

export interface State extends Selection {
  stage: number;
  detail: Detail;
  /** Ids of the boxes that are drawn as one node. */
  folded: ReadonlySet<string>;
  /** Draw a picture that is too large to be drawn at once. */
  whole: boolean;
  blanket: boolean;
  /** The graph has the whole window. */
  alone: boolean;
  tab: Tab;
  /** How often the graph was to be fitted into its pane, and steps of zooming in. */
  fitted: number;
  zoomed: number;
  /** The pane that a narrow window shows. */
  pane: Pane;
  point: number;
  /** The stage whose text is shown beside the graph; null: the chosen one's. */
  text: number | null;
  question: Question;
  dark: boolean;
  dialog: null | "help" | "about";
}

export type Action =
  | { do: "select"; selection: Partial<Selection> }
  | { do: "line"; line: number }
  | { do: "stage"; stage: number }
  | { do: "step"; by: 1 | -1 }
  | { do: "toggle"; what: "dark" | "blanket" | "whole" | "alone" }
  | { do: "fit" }
  | { do: "zoom"; by: 1 | -1 }
  | { do: "fold"; box: string }
  | { do: "pick"; site: string; role?: Role }
  | { do: "ask"; question: Partial<Question> }
  | { do: "set"; state: Partial<State> };

const NOTHING: Selection = { sites: [], node: null, line: null };

export function initial(model: Model, dark: boolean): State {
  const graphs = model.page.stages.filter((stage) => stage.kind === "graph").length;
  const unwell = model.page.points.findIndex((point) => point.first !== null);
  return {
    ...NOTHING,
    stage: 0,
    detail: "sites",
    folded: new Set(),
    whole: false,
    blanket: true,
    alone: false,
    fitted: 0,
    zoomed: 0,
    tab: unwell >= 0 ? "point" : "selection",
    pane: graphs > 0 ? "graph" : "details",
    point: Math.max(unwell, 0),
    text: null,
    question: { a: [], b: [], given: [], picking: "a" },
    dark,
    dialog: null,
  };
}

export function reducer(model: Model): (state: State, action: Action) => State {
  return (state, action) => {
    switch (action.do) {
      case "select":
        return { ...state, ...NOTHING, ...action.selection };
      case "line":
        return { ...state, ...onLine(model, state, action.line) };
      case "stage":
        return { ...state, ...atStage(model, action.stage) };
      case "step":
        return { ...state, ...atStage(model, state.stage + action.by) };
      case "toggle":
        return { ...state, [action.what]: !state[action.what] };
      case "fit":
        return { ...state, fitted: state.fitted + 1 };
      case "zoom":
        return { ...state, zoomed: state.zoomed + action.by };
      case "fold":
        return { ...state, folded: toggled(state.folded, action.box) };
      case "pick":
        return { ...state, question: picked(state.question, action.site, action.role ?? state.question.picking) };
      case "ask":
        return { ...state, question: { ...state.question, ...action.question } };
      case "set":
        return { ...state, ...action.state };
    }
  };
}

function atStage(model: Model, stage: number): Partial<State> {
  return { stage: Math.max(Math.min(stage, model.page.stages.length - 1), 0), whole: false, node: null };
}

/** All sites of a line; at the next click on it one after the other, since a loop's line may have many. */
function onLine(model: Model, state: State, line: number): Selection {
  const sites = model.onLine.get(line) ?? [];
  if (sites.length === 0) return { ...NOTHING, line };
  const all = state.sites.length === sites.length && sites.every((name) => state.sites.includes(name));
  const [only] = state.sites.length === 1 ? state.sites : [];
  const at = all ? 0 : only === undefined ? -1 : sites.indexOf(only) + 1;
  const next = sites.length > 1 && (all || at > 0) ? sites[at] : undefined;
  return { ...NOTHING, sites: next === undefined ? sites : [next] };
}

/** A site is in one of the three sets; picking it again takes it out. The first two picks are A and B. */
function picked(question: Question, site: string, role: Role): Question {
  const was = question[role].includes(site);
  const without = (names: readonly string[]) => names.filter((name) => name !== site);
  const next = { a: without(question.a), b: without(question.b), given: without(question.given) };
  if (!was) next[role] = [...next[role], site];
  const order = (["a", "b"] as const).find((r) => next[r].length === 0) ?? "given";
  const picking = was || role === "given" ? question.picking : order;
  return { ...question, ...next, picking };
}

function toggled(set: ReadonlySet<string>, item: string): Set<string> {
  const next = new Set(set);
  if (!next.delete(item)) next.add(item);
  return next;
}
