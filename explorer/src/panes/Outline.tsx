/** The outline of a node around the origin. */

import type { Size } from "../layout/drawing";
import type { Look } from "../layout/measure";

export function Outline({ look, size: { width: w, height: h } }: { look: Look; size: Size }) {
  const className = look.dashed ? "outline dashed" : "outline";
  switch (look.shape) {
    case "ellipse":
      return <ellipse class={className} rx={w / 2} ry={h / 2} />;
    case "diamond":
      return <polygon class={className} points={`0,${-h / 2} ${w / 2},0 0,${h / 2} ${-w / 2},0`} />;
    case "hexagon": {
      const c = Math.min(12, w / 5);
      const [x, y] = [w / 2, h / 2];
      return <polygon class={className} points={`${-x},0 ${c - x},${-y} ${x - c},${-y} ${x},0 ${x - c},${y} ${c - x},${y}`} />;
    }
    case "cylinder": {
      const [x, y] = [w / 2, h / 2 - 4];
      return <path class={className} d={`M${-x},${-y}A${x},4 0 0 1 ${x},${-y}V${y}A${x},4 0 0 1 ${-x},${y}ZM${-x},${-y}A${x},4 0 0 0 ${x},${-y}`} />;
    }
    case "plain":
      return <rect class={`${className} plain`} x={-w / 2} y={-h / 2} width={w} height={h} />;
    default:
      return <rect class={className} x={-w / 2} y={-h / 2} width={w} height={h} rx={look.shape === "rounded" ? Math.min(7, h / 3) : 1.5} />;
  }
}
