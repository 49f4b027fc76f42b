/** The drawing: boxes, edges, nodes; it zooms and pans, and the arrows walk over the nodes. */

import { select } from "d3-selection";
import { zoom, zoomIdentity, zoomTransform, type ZoomBehavior } from "d3-zoom";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { separated } from "../dseparation";
import { type Explorer, useExplorer } from "../explorer";
import type { DNode } from "../layout/fold";
import { cut, LINE, linesOf } from "../layout/measure";
import { isSelected, selectionOf, shows } from "../selection";
import type { PEdge } from "../types";
import type { Ready } from "./GraphPane";
import { Outline } from "./Outline";

/** Below this scale nodes show their names alone, larger. */
const FAR = 0.6;
const CLOSEST = 4;
const STEP = 1.3;
const READABLE = 0.85;

export function Drawing({ ready }: { ready: Ready }) {
  const explorer = useExplorer();
  const { state, act } = explorer;
  const svg = useRef<SVGSVGElement>(null);
  const { shown, laid, sizes, looks } = ready;
  const view = useZoom(svg, ready, state);
  const marks = useMarks(explorer);
  const selected = useMemo(() => shown.nodes.map((node) => isSelected(node, state)), [shown, state.sites, state.node, state.line]);
  const first = useMemo(() => {
    const sites = new Set(state.sites);
    const itself = shown.nodes.findIndex((node) => shows(node, sites));
    return itself < 0 ? selected.indexOf(true) : itself;
  }, [shown, selected]);
  const [focus, setFocus] = useState(0);
  useEffect(() => view.near(first < 0 ? null : laid.nodes[first]!), [laid]);
  useEffect(() => {
    if (first < 0) return;
    setFocus(first);
    view.show(laid.nodes[first]!, sizes[first]!);
  }, [first, ready]);

  const choose = (node: DNode) => {
    if (node.folded !== null) act({ do: "fold", box: node.folded.box });
    else if (state.tab === "independence" && node.site !== null) act({ do: "pick", site: node.site });
    else act({ do: "select", selection: selectionOf({ ...node, node: node.id }) });
  };
  const onKey = (event: KeyboardEvent, i: number) => {
    const next = neighbour(laid.nodes, i, event.key);
    if (event.key === "Enter" || event.key === " ") choose(shown.nodes[i]!);
    else if (next === null) return;
    else {
      setFocus(next);
      svg.current!.querySelector<SVGGElement>(`[data-index="${next}"]`)?.focus();
      view.show(laid.nodes[next]!, sizes[next]!);
      const node = shown.nodes[next]!;
      if (state.tab !== "independence" && node.folded === null) act({ do: "select", selection: selectionOf({ ...node, node: node.id }) });
    }
    event.preventDefault();
  };
  const classOf = (node: DNode, i: number) => [
    "node", `kind-${node.kind}`, node.new && marks.news ? "new" : "", selected[i] ? "selected" : "",
    marks.blanket !== null && shows(node, marks.blanket) && !selected[i] ? "blanket" : "",
    ...(["a", "b", "given"] as const).filter((role) => shows(node, marks[role])).map((role) => `role-${role}`),
    marks.path === null ? "" : shows(node, marks.path) ? "on-path" : shows(node, marks.asked) ? "" : "off-path",
  ].filter(Boolean).join(" ");

  const ends = useMemo(() => new Map(shown.nodes.map((node, i) => [node.id, i])), [shown]);
  const edgeClass = (edge: PEdge) => {
    const [from, to] = [ends.get(edge.from), ends.get(edge.to)];
    const near = (from !== undefined && selected[from]) || (to !== undefined && selected[to]);
    const both = from !== undefined && to !== undefined && marks.path !== null;
    const on = both && onPath(shown.nodes[from], shown.nodes[to], marks.steps);
    return `edge ${edge.temporal ? "temporal" : ""} ${near ? "near" : ""} ${marks.path === null ? "" : on ? "on-path" : "off-path"}`;
  };
  return (
    <svg ref={svg} class="drawing" role="group" aria-label={`Graph: ${shown.nodes.length} nodes, ${shown.edges.length} edges`}
      onClick={(event) => event.target === svg.current && act({ do: "select", selection: {} })}>
      <g class="world">
        {shown.boxes.map((box, i) => laid.boxes[i] && <PlateBox key={box.id} label={box.label} kind={box.kind} at={laid.boxes[i]} />)}
        <g aria-hidden="true">
          {shown.edges.map((edge, i) => (
            <g key={i} class={edgeClass(edge)} data-from={edge.from} data-to={edge.to}>
              <path d={laid.edges[i]!.line} />
              <polygon points={laid.edges[i]!.head} />
            </g>
          ))}
        </g>
        {shown.boxes.map((box, i) => laid.boxes[i] && (
          <BoxLabel key={box.id} label={box.label} at={laid.boxes[i]} onFold={() => act({ do: "fold", box: box.id })} />
        ))}
        {shown.nodes.map((node, i) => (
          <g key={node.id} class={classOf(node, i)} transform={`translate(${laid.nodes[i]!.x},${laid.nodes[i]!.y})`}
            role="button" aria-pressed={selected[i]} aria-label={described(node)} tabIndex={i === focus ? 0 : -1}
            data-index={i} data-node={node.id} data-site={node.site ?? undefined}
            onClick={() => choose(node)} onFocus={() => setFocus(i)} onKeyDown={(event) => onKey(event, i)}>
            <title>{described(node)}</title>
            {node.folded !== null && <g transform="translate(4,4)"><Outline look={looks[i]!} size={sizes[i]!} /></g>}
            <Outline look={looks[i]!} size={sizes[i]!} />
            <Words node={node} />
            {node.new && marks.news && <circle class="badge" cx={sizes[i]!.width / 2 - 3} cy={3 - sizes[i]!.height / 2} r="4.5" />}
          </g>
        ))}
      </g>
    </svg>
  );
}

function Words({ node }: { node: DNode }) {
  const lines = linesOf(node);
  const top = -((lines.length - 1) * LINE) / 2;
  // What plait numbers is not what the user named.
  const name = `name ${lines.length > 1 ? "above" : ""} ${/^[%#]\d/.test(node.name) ? "numbered" : ""}`;
  return (
    <>
      {lines.map((line, i) => (
        <text class={i === 0 && node.name !== "" ? name : "text"} y={top + i * LINE} dy="0.33em">{line}</text>
      ))}
    </>
  );
}

/** What a screen reader says, and the tooltip: everything, uncut. */
function described(node: DNode): string {
  if (node.folded !== null) return `Unfold ${node.name}, ${node.text}`;
  const more = [node.kind.replaceAll("_", " "), node.type, node.support, node.count === null ? "" : `${node.count} sites`, node.new ? "new" : ""];
  return `${node.name} ${node.text}`.trim() + more.filter(Boolean).map((part) => `, ${part}`).join("");
}

type Rect = { x: number; y: number; width: number; height: number };

function PlateBox({ at, label, kind }: { at: Rect; label: string; kind: string }) {
  return <rect class={`box ${kind}`} {...at} rx="9" data-box={label} />;
}

/** Bottom right, as in textbooks; a click folds the box. */
function BoxLabel({ label, at, onFold }: { label: string; at: Rect; onFold: () => void }) {
  return (
    <g class="box-label" role="button" tabIndex={0} aria-label={`Fold ${label}`} transform={`translate(${at.x + at.width - 8},${at.y + at.height - 12})`}
      onClick={onFold} onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), onFold())}>
      <title>{`Fold ${label}`}</title>
      <text text-anchor="end" dy="0.33em">{cut(label)}<tspan class="sign"> −</tspan></text>
    </g>
  );
}

/** Sets of sites that are marked: the blanket of what is selected; A, B, what is given, and the path between them. */
function useMarks({ model, state }: Explorer) {
  const { question, tab, blanket, sites } = state;
  return useMemo(() => {
    const asks = tab === "independence";
    const answer = asks && question.a.length > 0 && question.b.length > 0 ? separated(model.site, question.a, question.b, question.given) : null;
    const around = blanket && !asks && sites.length === 1 ? model.site.get(sites[0]!)?.blanket : undefined;
    const set = (names: readonly string[]) => new Set(asks ? names : []);
    return {
      news: model.changed(state.stage),
      blanket: around === undefined ? null : new Set(around),
      asked: set([...question.a, ...question.b, ...question.given]),
      a: set(question.a), b: set(question.b), given: set(question.given),
      path: answer === null || answer.separated ? null : new Set(answer.path),
      steps: answer?.path ?? [],
    };
  }, [model, question, tab, blanket, sites, state.stage]);
}

function onPath(from: DNode | undefined, to: DNode | undefined, steps: readonly string[]): boolean {
  return steps.some((name, i) => {
    const next = steps[i + 1];
    if (next === undefined || !from || !to) return false;
    const is = (node: DNode, site: string) => shows(node, new Set([site]));
    return (is(from, name) && is(to, next)) || (is(from, next) && is(to, name));
  });
}

/** The nearest node in the direction of an arrow key: sideways counts double. */
function neighbour(nodes: readonly { x: number; y: number }[], from: number, key: string): number | null {
  const directions: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const direction = directions[key];
  if (direction === undefined) return null;
  const [ux, uy] = direction;
  const here = nodes[from]!;
  let best: number | null = null;
  let least = Infinity;
  nodes.forEach(({ x, y }, i) => {
    const [dx, dy] = [x - here.x, y - here.y];
    const along = dx * ux + dy * uy;
    const distance = along + 2 * Math.abs(dx * uy - dy * ux);
    if (i !== from && along > 4 && distance < least) [best, least] = [i, distance];
  });
  return best;
}

/** Zoom and pan of the world; a new layout is fitted into the pane. */
function useZoom(svg: { current: SVGSVGElement | null }, ready: Ready, { fitted, zoomed }: { fitted: number; zoomed: number }) {
  const behaviour = useRef<ZoomBehavior<SVGSVGElement, unknown> | null>(null);
  const byHand = useRef(false);
  useEffect(() => {
    const world = svg.current!.querySelector(".world")!;
    const zooming = zoom<SVGSVGElement, unknown>().scaleExtent([0.02, CLOSEST]).on("zoom", ({ transform, sourceEvent }) => {
      if (sourceEvent) byHand.current = true;
      world.setAttribute("transform", String(transform));
      svg.current!.classList.toggle("far", transform.k < FAR);
    });
    behaviour.current = zooming;
    select(svg.current!).call(zooming).on("dblclick.zoom", null);
  }, []);
  const fit = () => {
    if (svg.current === null) return; // a resize may still be reported of a drawing that is gone
    const { width, height } = svg.current.getBoundingClientRect();
    const { laid } = ready;
    if (width === 0 || height === 0) return;
    const scale = Math.min((width - 36) / Math.max(laid.width, 1), (height - 36) / Math.max(laid.height, 1), 1.35);
    const transform = zoomIdentity.translate((width - laid.width * scale) / 2, (height - laid.height * scale) / 2).scale(scale);
    select(svg.current).call(behaviour.current!.transform, transform);
    byHand.current = false;
  };
  useEffect(fit, [ready.laid, fitted]);
  const steps = useRef(zoomed);
  useEffect(() => {
    if (steps.current === zoomed) return;
    select(svg.current!).call(behaviour.current!.scaleBy, STEP ** (zoomed - steps.current));
    [steps.current, byHand.current] = [zoomed, true];
  }, [zoomed]);
  useEffect(() => {
    const watch = new ResizeObserver(() => byHand.current || fit());
    watch.observe(svg.current!);
    return () => watch.disconnect();
  }, [ready.laid]);
  /** Moves a node into sight where it is not. */
  const show = ({ x, y }: { x: number; y: number }, size: { width: number; height: number }) => {
    const { width, height } = svg.current!.getBoundingClientRect();
    const held = zoomTransform(svg.current!);
    const [left, top] = held.apply([x, y]);
    const [w, h] = [(size.width / 2) * held.k, (size.height / 2) * held.k];
    if (left - w >= 0 && left + w <= width && top - h >= 0 && top + h <= height) return;
    select(svg.current!).call(behaviour.current!.translateTo, x, y);
  };
  /** Of a new layout that is too large to be read as a whole: close to a node. */
  const near = (at: { x: number; y: number } | null) => {
    if (at === null || zoomTransform(svg.current!).k >= FAR) return;
    select(svg.current!).call(behaviour.current!.scaleTo, READABLE).call(behaviour.current!.translateTo, at.x, at.y);
    byHand.current = true;
  };
  return { show, near };
}
