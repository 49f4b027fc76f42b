/** How large nodes and labels are, from the fonts of this browser. */

import type { Size } from "./drawing";
import type { DNode } from "./fold";

export const LINE = 15;
const SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
const FONTS = { name: `600 13px ${SANS}`, text: `12px ${SANS}`, label: `12px ${SANS}` };
/** Longer texts are cut in the picture, and whole in the tooltip and in the details. */
const LONGEST = 34;

const canvas = document.createElement("canvas").getContext("2d")!;

function width(text: string, font: keyof typeof FONTS): number {
  canvas.font = FONTS[font];
  return canvas.measureText(text).width;
}

export function cut(text: string): string {
  const points = [...text];
  return points.length <= LONGEST ? text : `${points.slice(0, LONGEST - 1).join("")}…`;
}

/** The lines that a node shows. */
export function linesOf(node: DNode): string[] {
  const name = cut(node.name) + (node.count !== null ? ` ×${node.count}` : "");
  return node.text === "" ? [name] : node.name === "" ? [cut(node.text)] : [name, cut(node.text)];
}

export type Shape = "ellipse" | "box" | "rounded" | "diamond" | "hexagon" | "cylinder" | "plain";

export interface Look {
  shape: Shape;
  dashed: boolean;
}

/** How a kind is drawn, of the shapes and styles that Graphviz knows. */
export function look(style: Readonly<Record<string, string>> | undefined): Look {
  const named = (style?.shape ?? "box").toLowerCase();
  const styles = (style?.style ?? "").split(",").map((part) => part.trim());
  return { shape: shapeOf(named, styles), dashed: styles.includes("dashed") || styles.includes("dotted") };
}

function shapeOf(named: string, styles: readonly string[]): Shape {
  if (["ellipse", "oval", "circle", "doublecircle", "point", "egg"].includes(named)) return "ellipse";
  if (["plaintext", "plain", "none"].includes(named)) return "plain";
  if (["diamond", "mdiamond"].includes(named)) return "diamond";
  if (named === "cylinder") return "cylinder";
  if (["hexagon", "octagon", "doubleoctagon"].includes(named)) return "hexagon";
  return styles.includes("rounded") ? "rounded" : "box";
}

/** Room that a shape needs around its text: factors of the text's size, and pixels. */
const AROUND: Record<Shape, [number, number, number, number]> = {
  ellipse: [1.16, 22, 1.2, 10],
  box: [1, 16, 1, 9],
  rounded: [1, 18, 1, 9],
  diamond: [1.6, 20, 1.7, 8],
  hexagon: [1, 34, 1, 10],
  cylinder: [1, 18, 1, 16],
  plain: [1, 8, 1, 4],
};

export function sizeOf(node: DNode, { shape }: Look): Size {
  const [first, second] = linesOf(node);
  const bold = node.name !== "";
  const across = Math.max(width(first!, bold ? "name" : "text"), second === undefined ? 0 : width(second, "text"));
  const [w, dw, h, dh] = AROUND[shape];
  const down = LINE * (second === undefined ? 1 : 2);
  return { width: Math.ceil(across * w + dw), height: Math.ceil(down * h + dh) };
}

/** With room for the sign that it can be folded. */
export function labelSize(label: string): Size {
  return { width: Math.ceil(width(cut(label), "label")) + 22, height: 18 };
}
