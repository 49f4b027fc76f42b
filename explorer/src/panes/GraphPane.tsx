/** The graph of the chosen stage: what to draw, its layout, and what stands around the drawing. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { type Explorer, useExplorer } from "../explorer";
import { count, counted } from "../format";
import { Cancelled } from "../layout/client";
import type { Drawing as Laid, Size } from "../layout/drawing";
import { fold, neighbourhood, plain, type Shown } from "../layout/fold";
import { toGraphviz } from "../layout/graphviz";
import { labelSize, type Look, look, sizeOf } from "../layout/measure";
import { isRefused } from "../model";
import { isSelected } from "../selection";
import { DETAILS } from "../state";
import { Drawing } from "./Drawing";
import { Legend } from "./Legend";
import { StageText } from "./StageText";

/** A picture with more nodes is drawn around the selection alone, with so many nodes at most. */
const LARGE = 1500;
const NEAR = 250;
const NAMES = { sites: ["sites", "The sites alone"], code: ["with code", "Sites, and the code between them"], equations: ["equations", "Every equation"] };

export function GraphPane() {
  const { model, state } = useExplorer();
  const stage = model.stage(state.stage);
  if (stage === null) return <p class="empty">There is no stage to show.</p>;
  if (stage.kind === "text") return <StageText stage={state.stage} />;
  return <Graph />;
}

/** A picture with its sizes and, once it is there, its layout. */
export interface Ready {
  key: string;
  shown: Shown;
  looks: Look[];
  sizes: Size[];
  laid: Laid;
}

function Graph() {
  const explorer = useExplorer();
  const { state, act } = explorer;
  const wish = useWish(explorer);
  const { ready, problem, busy, cancel } = useLayout(explorer, wish);
  const large = wish !== null && "total" in wish ? wish.total : null;
  return (
    <div class="graph">
      <div class="bar tools" role="toolbar" aria-label="Graph">
        <div class="segments" role="radiogroup" aria-label="Level of detail">
          {DETAILS.map((detail, i) => (
            <button role="radio" aria-checked={state.detail === detail} title={`${NAMES[detail][1]} (${i + 1})`}
              onClick={() => act({ do: "set", state: { detail, whole: false } })}>{NAMES[detail][0]}</button>
          ))}
        </div>
        <span class="grow" />
        <button class="toggle" aria-pressed={state.blanket} title="Outline the Markov blanket of the selected site (b)"
          onClick={() => act({ do: "toggle", what: "blanket" })}>Blanket</button>
        <button class="toggle" aria-pressed={state.alone} title="The graph alone, in the whole window (w)" onClick={() => act({ do: "toggle", what: "alone" })}>Wide</button>
        <button title="Farther (−)" aria-label="Farther" onClick={() => act({ do: "zoom", by: -1 })}>−</button>
        <button title="Closer (+)" aria-label="Closer" onClick={() => act({ do: "zoom", by: 1 })}>+</button>
        <button title="Fit the graph into the pane (f)" onClick={() => act({ do: "fit" })}>Fit</button>
      </div>
      {large !== null && (
        <p class="notice" role="status">
          {state.whole ? `All ${count(large)} nodes.` : `This picture has ${count(large)} nodes; drawn are those near the selection.`}{" "}
          <button onClick={() => act({ do: "toggle", what: "whole" })}>{state.whole ? "Draw the neighbourhood" : "Draw all"}</button>
        </p>
      )}
      {state.tab === "independence" && <p class="notice">Clicks on sites choose {roleName(state.question.picking)}.</p>}
      {wish !== null && "refused" in wish ? <p class="empty">{wish.refused}</p> : wish === null ? <p class="empty">This stage has no picture.</p> : (
        <div class={`canvas ${busy ? "busy" : ""}`} aria-busy={busy}>
          {ready !== null && <Drawing ready={ready} />}
          {busy && <p class="laying" role="status">Laying out {counted(wish.shown.nodes.length, "node")} … <button onClick={cancel}>Cancel</button></p>}
          {problem !== null && <p class="laying" role="alert">{problem}</p>}
        </div>
      )}
      {ready !== null && <Legend shown={ready.shown} looks={ready.looks} />}
    </div>
  );
}

export function roleName(role: "a" | "b" | "given"): string {
  return role === "given" ? "what is given" : role.toUpperCase();
}

type Wish = null | { refused: string } | { key: string; shown: Shown } | { key: string; shown: Shown; total: number };

/** What is to be drawn: the picture of the stage, folded, and cut down where it is too large. */
function useWish({ model, state }: Explorer): Wish {
  const { stage, detail, folded, whole } = state;
  const picture = model.picture(stage, detail);
  const drawn = useMemo(() => {
    if (picture === null || isRefused(picture)) return null;
    const some = new Set(picture.boxes.map((box) => box.id).filter((id) => folded.has(id)));
    return { shown: some.size > 0 ? fold(picture, some) : plain(picture), some };
  }, [picture, folded]);
  const large = drawn !== null && drawn.shown.nodes.length > LARGE;
  const around = large && !whole ? JSON.stringify([state.sites, state.node, state.line]) : "";
  return useMemo(() => {
    if (picture !== null && isRefused(picture)) return picture;
    if (drawn === null) return null;
    const { shown, some } = drawn;
    const key = JSON.stringify([model.drawn(stage)?.name, model.page.stages.indexOf(model.drawn(stage)!), detail, [...some], around]);
    if (!large) return { key, shown };
    if (whole) return { key, shown, total: shown.nodes.length };
    const near = new Set(shown.nodes.filter((node) => isSelected(node, state)).map((node) => node.id));
    return { key, shown: neighbourhood(shown, near, NEAR), total: shown.nodes.length };
  }, [picture, drawn, whole, around]);
}

/** The layout of what is wished for; until it is there, the one before stays. */
function useLayout({ model, layouts }: Explorer, wish: Wish) {
  const [ready, setReady] = useState<Ready | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    setProblem(null);
    if (wish === null || "refused" in wish) return;
    const { key, shown } = wish;
    const looks = shown.nodes.map((node) => look(node.folded === null ? model.page.styles[node.kind] : { style: "rounded" }));
    const sizes = shown.nodes.map((node, i) => sizeOf(node, looks[i]!));
    const done = (laid: Laid) => {
      setReady({ key, shown, looks, sizes, laid });
      setBusy(false);
    };
    const known = layouts.known(key);
    if (known !== undefined) return done(known);
    let wanted = true;
    setBusy(true);
    const counts = { nodes: shown.nodes.length, edges: shown.edges.length, boxes: shown.boxes.length };
    const graph = toGraphviz(shown, sizes.map((size, i) => ({ ...size, shape: looks[i]!.shape })), shown.boxes.map((box) => labelSize(box.label)));
    layouts.layout(key, graph, counts).then(
      (laid) => wanted && done(laid),
      (error: Error) => {
        if (!wanted) return;
        setBusy(false);
        setProblem(error instanceof Cancelled ? "The layout was cancelled." : `The graph could not be laid out: ${error.message}`);
      },
    );
    return () => void (wanted = false);
  }, [wish === null || "refused" in wish ? wish : wish.key, wish !== null && "shown" in wish ? wish.shown : null]);
  return { ready, problem, busy, cancel: () => layouts.cancel() };
}
