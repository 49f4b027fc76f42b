/** Keys that work wherever the focus is, but in a field. */

import { useEffect } from "preact/hooks";
import { type Action, DETAILS, type State } from "./state";

export function useKeys(dialog: State["dialog"], act: (action: Action) => void): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as Element | null;
      if (event.ctrlKey || event.metaKey || event.altKey || dialog !== null) return;
      if (target?.closest("input:not([type=radio]), select, textarea")) return;
      const action = meaning(event.key);
      if (action === null) return;
      event.preventDefault();
      if (action === "search") document.getElementById("search")?.focus();
      else act(action);
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [dialog, act]);
}

function meaning(key: string): Action | "search" | null {
  switch (key) {
    case "/": return "search";
    case "+": case "=": return { do: "zoom", by: 1 };
    case "-": return { do: "zoom", by: -1 };
    case "f": return { do: "fit" };
    case "?": return { do: "set", state: { dialog: "help" } };
    case "[": return { do: "step", by: -1 };
    case "]": return { do: "step", by: 1 };
    case "d": return { do: "toggle", what: "dark" };
    case "b": return { do: "toggle", what: "blanket" };
    case "w": return { do: "toggle", what: "alone" };
    case "Escape": return { do: "select", selection: {} };
    case "1": case "2": case "3": return { do: "set", state: { detail: DETAILS[Number(key) - 1]!, whole: false } };
    default: return null;
  }
}
