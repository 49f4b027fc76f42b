/** The right pane: tabs. */

import type { FunctionComponent } from "preact";
import { useRef } from "preact/hooks";
import { useExplorer } from "../explorer";
import { TABS, type Tab } from "../state";
import { CouplingTab } from "./CouplingTab";
import { IndependenceTab } from "./IndependenceTab";
import { PointTab } from "./PointTab";
import { SelectionTab } from "./SelectionTab";
import { TermsTab } from "./TermsTab";
import { TextTab } from "./TextTab";

const PANELS: Record<Tab, FunctionComponent> = {
  selection: SelectionTab, terms: TermsTab, point: PointTab,
  independence: IndependenceTab, coupling: CouplingTab, text: TextTab,
};
const NAMES: Record<Tab, string> = {
  selection: "Selection", terms: "Terms", point: "Point", independence: "Independence", coupling: "Coupling", text: "Text",
};

export function Details() {
  const { model, state, act } = useExplorer();
  const list = useRef<HTMLDivElement>(null);
  const unwell = model.page.points.some((point) => point.first !== null);
  const Panel = PANELS[state.tab];
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const tab = TABS[(TABS.indexOf(state.tab) + step + TABS.length) % TABS.length]!;
    act({ do: "set", state: { tab } });
    list.current!.querySelector<HTMLElement>(`#tab-${tab}`)!.focus();
    event.preventDefault();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label="Details" ref={list} onKeyDown={move}>
        {TABS.map((tab) => (
          <button key={tab} id={`tab-${tab}`} role="tab" aria-selected={state.tab === tab} aria-controls="panel" tabIndex={state.tab === tab ? 0 : -1}
            onClick={() => act({ do: "set", state: { tab } })}>
            {NAMES[tab]}{tab === "point" && unwell && <b class="alarm" title="A value is not finite"> !</b>}
          </button>
        ))}
      </div>
      <div id="panel" class={`panel panel-${state.tab}`} role="tabpanel" aria-labelledby={`tab-${state.tab}`}>
        <Panel />
      </div>
    </>
  );
}
