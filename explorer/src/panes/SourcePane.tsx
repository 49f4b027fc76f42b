/** The user's file, coloured; a line that has sites selects them. */

import { useCallback, useMemo } from "preact/hooks";
import { useExplorer } from "../explorer";
import { LongText } from "../parts/LongText";
import { words } from "../python";

export function SourcePane() {
  const { model, state, act } = useExplorer();
  const { source, no_source } = model.page;
  const { sourceLines } = model;
  const coloured = useMemo(() => words(sourceLines.join("\n")), [sourceLines]);
  const first = source?.first_line ?? 1;
  const selected = useMemo(() => {
    const lines = model.linesOf(state.sites);
    if (state.line !== null) lines.add(state.line);
    return [...lines].map((line) => line - first).filter((i) => i >= 0 && i < sourceLines.length).sort((a, b) => a - b);
  }, [model, state.sites, state.line, first]);
  const unwell = model.page.points[state.point]?.first?.line ?? null;
  const start = Math.max(Math.min(...model.onLine.keys()) - first - 2, 0);
  const length = useCallback((i: number) => sourceLines[i]!.length, [sourceLines]);
  if (source === null) return <p class="empty">{no_source || "This model has no source."}</p>;
  return (
    <>
      <div class="bar file" title={source.file}>{source.file.split(/[\\/]/).at(-1)}</div>
      <LongText label="Source" count={sourceLines.length} length={length} selected={selected} start={start}
        number={(i) => String(i + first)}
        className={(i) => `${model.onLine.has(i + first) ? "has-site" : ""} ${unwell === i + first ? "unwell" : ""}`}
        show={(i) => coloured[i]!.map((word) => (word.scope === "" ? word.text : <span class={`py-${word.scope}`}>{word.text}</span>))}
        onChoose={(i) => act({ do: "line", line: i + first })} />
    </>
  );
}
