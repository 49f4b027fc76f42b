/** The strip of stages, and what the chosen one did. */

import { useEffect, useRef } from "preact/hooks";
import { useExplorer } from "../explorer";
import { count, counted } from "../format";
import type { Stage } from "../types";

export function Stages() {
  const { model, state, act } = useExplorer();
  const strip = useRef<HTMLDivElement>(null);
  useEffect(() => {
    strip.current?.querySelector("[aria-checked=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [state.stage]);
  const stage = model.stage(state.stage);
  return (
    <div class="stages">
      <div class="strip" role="radiogroup" aria-label="Stages" ref={strip}>
        {model.page.stages.map((each, i) => (
          <Choice key={i} stage={each} chosen={i === state.stage} idle={unchanged(each, i)} onChoose={() => act({ do: "stage", stage: i })} />
        ))}
      </div>
      {stage !== null && <p class="about"><strong>{stage.name}</strong>: {stage.about} <Changes stage={stage} index={state.stage} /></p>}
    </div>
  );
}

/** A pass that changed nothing is a dot until it is chosen. */
function Choice({ stage, chosen, idle, onChoose }: { stage: Stage; chosen: boolean; idle: boolean; onChoose: () => void }) {
  const name = stage.name.replaceAll("_", " ");
  const small = idle && !chosen;
  return (
    <button role="radio" aria-checked={chosen} aria-label={name} class={`${idle ? "unchanged" : `made-${stage.kind}`} ${small ? "dot" : ""}`}
      title={`${name}: ${idle ? "changes nothing here" : stage.about} ([ and ])`} onClick={onChoose}>
      {small ? "·" : <>{name}<small>{stage.kind === "graph" ? count(stage.nodes) : "text"}</small></>}
    </button>
  );
}

function unchanged(stage: Stage, index: number): boolean {
  return stage.kind === "graph" && !stage.changed && index > 0;
}

function Changes({ stage, index }: { stage: Stage; index: number }) {
  if (stage.kind === "text") return <span class="changes">{counted(stage.lines.length, "line")}</span>;
  const operations = stage.operations === null ? "" : `, ${counted(stage.operations, "operation")}`;
  if (unchanged(stage, index)) return <span class="changes">changes nothing here</span>;
  const added = index === 0 ? 0 : (stage.lines ?? []).filter((line) => line.new).length;
  return (
    <span class="changes">
      {counted(stage.nodes, "node")}{operations}
      {added > 0 && <b class="added"> +{count(added)}</b>}
      {stage.removed.length > 0 && <b class="gone"> −{count(stage.removed.length)}</b>}
    </span>
  );
}
