/** A text beside the graph: the chosen stage's, or that of a compiled program. */

import { useExplorer } from "../explorer";
import { StageText } from "./StageText";

export function TextTab() {
  const { model, state, act } = useExplorer();
  const { stages } = model.page;
  const texts = stages.flatMap((stage, i) => (stage.kind === "text" ? [i] : []));
  const shown = state.text ?? state.stage;
  return (
    <>
      {texts.length > 0 && (
        <div class="segments" role="radiogroup" aria-label="Which text">
          {[null, ...texts].map((i) => (
            <button role="radio" aria-checked={state.text === i} onClick={() => act({ do: "set", state: { text: i } })}>
              {i === null ? "chosen stage" : stages[i]!.name}
            </button>
          ))}
        </div>
      )}
      <StageText key={shown} stage={shown} />
    </>
  );
}
