/** The page's address keeps what is chosen, so that a reload or a link shows the same. */

import type { Model } from "./model";
import { DETAILS, type State, TABS } from "./state";

export function written(state: State, model: Model, preferred: boolean): string {
  const fields = new URLSearchParams();
  const name = model.stage(state.stage)?.name;
  if (state.stage > 0 && name !== undefined) fields.set("stage", name);
  if (state.detail !== "sites") fields.set("detail", state.detail);
  if (state.tab !== "selection") fields.set("tab", state.tab);
  for (const site of state.sites.slice(0, 20)) fields.append("site", site);
  if (state.dark !== preferred) fields.set("theme", state.dark ? "dark" : "light");
  return String(fields);
}

/** What an address says, as far as this page has it. */
export function read(hash: string, model: Model): Partial<State> {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const found: Partial<State> = {};
  const stage = model.page.stages.findIndex((each) => each.name === fields.get("stage"));
  if (stage >= 0) found.stage = stage;
  const detail = DETAILS.find((each) => each === fields.get("detail"));
  if (detail !== undefined) found.detail = detail;
  const tab = TABS.find((each) => each === fields.get("tab"));
  if (tab !== undefined) found.tab = tab;
  const sites = fields.getAll("site").filter((name) => model.site.has(name));
  if (sites.length > 0) found.sites = sites;
  const theme = fields.get("theme");
  if (theme === "dark" || theme === "light") found.dark = theme === "dark";
  return found;
}
