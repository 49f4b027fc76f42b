/** What the shapes mean, for the kinds that are in the picture. */

import type { Shown } from "../layout/fold";
import type { Look } from "../layout/measure";
import { Outline } from "./Outline";

const MOST = 9;

export function Legend({ shown, looks }: { shown: Shown; looks: readonly Look[] }) {
  const kinds = new Map<string, Look>();
  shown.nodes.forEach((node, i) => kinds.has(node.kind) || kinds.set(node.kind, looks[i]!));
  return (
    <div class="legend" aria-label="Kinds of nodes">
      {[...kinds].slice(0, MOST).map(([kind, look]) => (
        <span key={kind}>
          <svg width="22" height="14" class={`node kind-${kind}`} aria-hidden="true">
            <g transform="translate(11,7)"><Outline look={look} size={{ width: 20, height: 12 }} /></g>
          </svg>
          {kind.replaceAll("_", " ")}
        </span>
      ))}
      {shown.edges.some((edge) => edge.temporal) && <span><i class="dash" /> read by the next step</span>}
    </div>
  );
}
