/** Python source as coloured words, line by line. */

import core from "highlight.js/lib/core";
import python from "highlight.js/lib/languages/python";

core.registerLanguage("python", python);

export interface Word {
  text: string;
  /** "keyword", "string", …; empty for plain text. */
  scope: string;
}

type Tree = string | { scope?: string; children: Tree[] };

/** One list of words for each line; together they are the text. */
export function words(text: string): Word[][] {
  const lines: Word[][] = [[]];
  const walk = (tree: Tree, scope: string): void => {
    if (typeof tree !== "string") return tree.children.forEach((child) => walk(child, tree.scope ?? scope));
    tree.split("\n").forEach((part, i) => {
      if (i > 0) lines.push([]);
      if (part !== "") lines.at(-1)!.push({ text: part, scope: scope.split(".")[0]! });
    });
  };
  // The tree, and not the HTML that is written from it: the page makes no markup from text.
  const { _emitter } = core.highlight(text, { language: "python", ignoreIllegals: true });
  walk((_emitter as unknown as { rootNode: Tree }).rootNode, "");
  return lines;
}
