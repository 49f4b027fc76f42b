/** Search: sites, lines of the source, equations of the chosen stage and of the compiled programs. */

import { useMemo, useState } from "preact/hooks";
import { useExplorer } from "../explorer";
import { count } from "../format";
import type { Model } from "../model";
import { selectionOf } from "../selection";
import type { Action, State } from "../state";

interface Hit {
  where: string;
  text: string;
  go: Action[];
}

const MOST = 40;

export function Search() {
  const { model, state, act } = useExplorer();
  const [query, setQuery] = useState("");
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(0);
  const { hits, total } = useMemo(() => find(model, state, query.trim().toLowerCase()), [model, state.stage, query]);
  const take = (hit: Hit | undefined) => {
    if (hit === undefined) return;
    hit.go.forEach(act);
    setOpen(false);
  };
  const onKey = (event: KeyboardEvent & { currentTarget: HTMLInputElement }) => {
    if (event.key === "ArrowDown") setChosen(Math.min(chosen + 1, hits.length - 1));
    else if (event.key === "ArrowUp") setChosen(Math.max(chosen - 1, 0));
    else if (event.key === "Enter") take(hits[chosen]);
    else if (event.key === "Escape") {
      setQuery("");
      setOpen(false);
      event.currentTarget.blur();
    } else return;
    event.preventDefault();
  };
  const shown = open && query.trim() !== "";
  return (
    <div class="search">
      <input id="search" type="text" role="combobox" list={undefined} placeholder="Search  /" aria-label="Search sites, lines and equations" autocomplete="off"
        aria-expanded={shown} aria-controls="hits" aria-activedescendant={shown && hits.length > 0 ? `hit-${chosen}` : undefined}
        value={query} onKeyDown={onKey} onFocus={() => setOpen(true)} onBlur={() => setOpen(false)}
        onInput={(event) => { setQuery(event.currentTarget.value); setChosen(0); setOpen(true); }} />
      {shown && (
        <div id="hits" role="listbox" aria-label="Found">
          {hits.map((hit, i) => (
            <div id={`hit-${i}`} role="option" aria-selected={i === chosen} onMouseDown={(event) => { event.preventDefault(); take(hit); }}>
              <small>{hit.where}</small> <code>{hit.text}</code>
            </div>
          ))}
          {total === 0 && <p>Nothing has “{query.trim()}”.</p>}
          {total > hits.length && <p>{count(total - hits.length)} more</p>}
        </div>
      )}
    </div>
  );
}

/** Sites first, by name before text; then the source; then equations. */
function find(model: Model, state: State, query: string): { hits: Hit[]; total: number } {
  const hits: Hit[] = [];
  let total = 0;
  if (query === "") return { hits, total };
  const add = (hit: Hit) => ++total <= MOST && hits.push(hit);
  const has = (text: string) => text.toLowerCase().includes(query);
  const { sites, source, stages } = model.page;
  const rank = (name: string) => (name.toLowerCase() === query ? 0 : name.toLowerCase().startsWith(query) ? 1 : has(name) ? 2 : 3);
  const named = sites.filter((site) => has(site.name) || has(site.text) || site.members.some(has));
  for (const site of named.sort((x, y) => rank(x.name) - rank(y.name))) {
    add({ where: site.kind, text: `${site.name} ${site.text}`, go: [{ do: "select", selection: { sites: [site.name] } }] });
  }
  model.sourceLines.forEach((text, i) => {
    const line = i + (source?.first_line ?? 1);
    if (has(text)) add({ where: `line ${line}`, text: text.trim(), go: [{ do: "line", line }, { do: "set", state: { pane: "source" } }] });
  });
  const chosen = model.stage(state.stage);
  stages.forEach((stage, i) => {
    if (stage !== chosen && stage.kind !== "text") return;
    for (const line of model.lines(i)) {
      if (!has(line.text)) continue;
      const text = stage.kind === "text" ? i : null;
      const go: Action[] = [{ do: "select", selection: selectionOf(line) }, { do: "set", state: { tab: "text", text, pane: "details" } }];
      add({ where: stage.name, text: line.text.trim(), go });
    }
  });
  return { hits, total };
}
