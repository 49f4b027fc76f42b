/** The page: a header, three panes, and the lines between them. */

import { useEffect, useMemo, useReducer, useState } from "preact/hooks";
import { read, written } from "./address";
import { Context, useExplorer } from "./explorer";
import { count, number } from "./format";
import { useKeys } from "./keyboard";
import type { Layouts } from "./layout/client";
import type { Model } from "./model";
import { Details } from "./panes/Details";
import { Dialogs } from "./panes/Dialogs";
import { GraphPane } from "./panes/GraphPane";
import { Search } from "./panes/Search";
import { SourcePane } from "./panes/SourcePane";
import { Stages } from "./panes/Stages";
import { Splitter } from "./parts/Splitter";
import { initial, type Pane, reducer } from "./state";

const PREFERRED = matchMedia("(prefers-color-scheme: dark)").matches;

export function App({ model, layouts, notices }: { model: Model; layouts: Layouts; notices: string }) {
  const reduce = useMemo(() => reducer(model), [model]);
  const [state, act] = useReducer(reduce, null, () => ({ ...initial(model, PREFERRED), ...read(location.hash, model) }));
  useKeys(state.dialog, act);
  useEffect(() => {
    document.documentElement.dataset.theme = state.dark ? "dark" : "light";
    const fields = written(state, model, PREFERRED);
    history.replaceState(null, "", fields === "" ? location.pathname + location.search : `#${fields}`);
  }, [state]);
  const explorer = useMemo(() => ({ model, state, act, layouts }), [model, state, layouts]);
  return (
    <Context.Provider value={explorer}>
      <Header />
      <Panes />
      <Dialogs notices={notices} />
    </Context.Provider>
  );
}

function Header() {
  const { model, state, act } = useExplorer();
  const { title, precision, totals } = model.page;
  const [before, after] = totals.flops;
  return (
    <header class="top">
      <h1>{title}</h1>
      <span class="facts">
        {precision}
        {before > 0 && <>, {count(before)}{after !== before && <> → <b>{count(after)}</b></>} operations a call</>}
      </span>
      <Alarm />
      <span class="grow" />
      <Search />
      <button onClick={() => act({ do: "toggle", what: "dark" })} aria-pressed={state.dark} title="Dark or light (d)">{state.dark ? "Light" : "Dark"}</button>
      <button onClick={() => act({ do: "set", state: { dialog: "help" } })} title="Keys (?)">Keys</button>
      <button onClick={() => act({ do: "set", state: { dialog: "about" } })}>About</button>
    </header>
  );
}

/** A density that is not finite is said wherever the reader is. */
function Alarm() {
  const { model, state, act } = useExplorer();
  const point = model.page.points[state.point];
  if (point === undefined || point.first === null) return null;
  return (
    <button class="alarm" onClick={() => act({ do: "set", state: { tab: "point", pane: "details" } })} title={point.first.sentence}>
      {number(point.total)} at {point.name}: {point.first.where}
    </button>
  );
}

const PANES: [Pane, string][] = [["source", "Source"], ["graph", "Graph"], ["details", "Details"]];

function Panes() {
  const { model, state, act } = useExplorer();
  const [left, setLeft] = useState(model.page.source === null ? 200 : Math.round(Math.min(Math.max(window.innerWidth * 0.26, 280), 520)));
  const [right, setRight] = useState(Math.round(Math.min(Math.max(window.innerWidth * 0.31, 360), 560)));
  return (
    <main data-pane={state.pane} class={state.alone ? "alone" : ""}>
      <div class="pane-tabs" role="tablist" aria-label="Panes">
        {PANES.map(([pane, name]) => (
          <button key={pane} role="tab" aria-selected={state.pane === pane} onClick={() => act({ do: "set", state: { pane } })}>{name}</button>
        ))}
      </div>
      <section class="pane source" aria-label="Source" style={{ flexBasis: `${left}px` }}><SourcePane /></section>
      <Splitter label="Width of the source" width={left} side={1} onWidth={setLeft} />
      <section class="pane middle" aria-label="Graph"><Stages /><GraphPane /></section>
      <Splitter label="Width of the details" width={right} side={-1} onWidth={setRight} />
      <section class="pane details" aria-label="Details" style={{ flexBasis: `${right}px` }}><Details /></section>
    </main>
  );
}
