/** What every pane sees: the model, what is chosen, and how to choose. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Layouts } from "./layout/client";
import type { Model } from "./model";
import type { Action, State } from "./state";

export interface Explorer {
  model: Model;
  state: State;
  act: (action: Action) => void;
  layouts: Layouts;
}

export const Context = createContext<Explorer | null>(null);

export function useExplorer(): Explorer {
  return useContext(Context)!;
}
