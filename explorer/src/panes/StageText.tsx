/** The text of a stage: lines of the selected site are marked, new ones have a bar, removed ones are listed below. */

import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { useExplorer } from "../explorer";
import { count, counted } from "../format";
import { LongText } from "../parts/LongText";
import { selectionOf } from "../selection";
import type { TextLine } from "../types";

export function StageText({ stage }: { stage: number }) {
  const { model, state, act } = useExplorer();
  const lines = model.lines(stage);
  const shown = model.stage(stage);
  const marks = shown?.kind === "text" || model.changed(stage);
  const selected = useMemo(() => {
    const found = lines.flatMap((line, i) => (isOf(line, state) ? [i] : []));
    return found;
  }, [lines, state.sites, state.node, state.line]);
  const blocks = useMemo(() => selected.filter((line, i) => line !== (selected[i - 1] ?? -2) + 1), [selected]);
  const [reveal, setReveal] = useState<{ line: number; block: number } | null>(null);
  useEffect(() => setReveal(null), [selected]);
  const walk = (by: 1 | -1) => {
    const block = ((reveal?.block ?? 0) + by + blocks.length) % blocks.length;
    setReveal({ line: blocks[block]!, block });
  };
  const length = useCallback((i: number) => lines[i]!.text.length, [lines]);
  if (shown === null) return null;
  const removed = shown.kind === "graph" && shown.changed ? shown.removed : [];
  return (
    <div class="stage-text">
      <div class="bar">
        <strong>{shown.name}</strong> {counted(lines.length, "line")}
        {selected.length > 0 && `, ${count(selected.length)} selected`}
        {blocks.length > 1 && (
          <span class="walk">
            <button aria-label="Lines of the selection before" title="Lines of the selection before" onClick={() => walk(-1)}>↑</button>
            {(reveal?.block ?? 0) + 1} of {blocks.length}
            <button aria-label="Next lines of the selection" title="Next lines of the selection" onClick={() => walk(1)}>↓</button>
          </span>
        )}
      </div>
      {lines.length === 0 ? <p class="empty">This stage has no text.</p> : (
        <LongText label={`Text of ${shown.name}`} count={lines.length} length={length} selected={selected} reveal={reveal}
          number={(i) => String(i + 1)}
          className={(i) => `${marks && lines[i]!.new ? "new" : ""} ${lines[i]!.site !== null ? "has-site" : ""}`}
          show={(i) => lines[i]!.text}
          onChoose={(i) => act({ do: "select", selection: selectionOf(lines[i]!) })} />
      )}
      {removed.length > 0 && <Removed lines={removed} />}
    </div>
  );
}

function isOf(line: TextLine, { sites, node, line: chosen }: { sites: readonly string[]; node: string | null; line: number | null }): boolean {
  if (line.site !== null && sites.includes(line.site)) return true;
  return (node !== null && line.node === node) || (chosen !== null && line.line === chosen);
}

const AT_FIRST = 200;

function Removed({ lines }: { lines: readonly string[] }) {
  const [all, setAll] = useState(false);
  return (
    <details class="removed">
      <summary>{counted(lines.length, "line")} of the stage before {lines.length === 1 ? "is" : "are"} gone</summary>
      <div class="removed-lines">
        {lines.slice(0, all ? undefined : AT_FIRST).map((line) => <code>{line}</code>)}
        {!all && lines.length > AT_FIRST && <button onClick={() => setAll(true)}>Show all {count(lines.length)}</button>}
      </div>
    </details>
  );
}
