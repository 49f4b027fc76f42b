/** The page's data with its indexes: which sites, terms and lines belong together. */

import type { Detail, GraphStage, Page, Picture, Refused, Site, Stage, Term, TextLine } from "./types";

export class Model {
  readonly site = new Map<string, Site>();
  /** Names of the sites that stand on a line of the source. */
  readonly onLine = new Map<number, string[]>();
  readonly termsOf = new Map<string, Term[]>();
  readonly sourceLines: string[];

  constructor(readonly page: Page) {
    for (const site of page.sites) {
      this.site.set(site.name, site);
      if (site.line !== null) push(this.onLine, site.line, site.name);
    }
    for (const term of page.terms) push(this.termsOf, term.site, term);
    this.sourceLines = page.source === null ? [] : page.source.text.replace(/\r\n?/g, "\n").replace(/\n$/, "").split("\n");
  }

  stage(index: number): Stage | null {
    return this.page.stages[index] ?? null;
  }

  /** The stage that has the pictures and lines of this one: itself, or the last one before that changed anything. */
  drawn(index: number): GraphStage | null {
    for (let i = index; i >= 0; i--) {
      const stage = this.page.stages[i];
      if (stage?.kind === "graph" && stage.pictures !== null) return stage;
    }
    return null;
  }

  picture(index: number, detail: Detail): Picture | Refused | null {
    return this.drawn(index)?.pictures?.[detail] ?? null;
  }

  /** The text of a stage, whose lines are new only at the stage that made them. */
  lines(index: number): readonly TextLine[] {
    const stage = this.stage(index);
    if (stage?.kind === "text") return stage.lines;
    for (let i = index; i >= 0; i--) {
      const before = this.page.stages[i];
      if (before?.kind === "graph" && before.lines !== null) return before.lines;
    }
    return [];
  }

  /** Whether the stage made what is shown: the marks of what is new are its own, not those of a stage before. */
  changed(index: number): boolean {
    const stage = this.stage(index);
    return stage?.kind === "graph" && stage.changed && index > 0;
  }

  /** Lines of the source that belong to some sites. */
  linesOf(sites: readonly string[]): Set<number> {
    const lines = sites.map((name) => this.site.get(name)?.line ?? null);
    return new Set(lines.filter((line) => line !== null));
  }
}

export function isRefused(picture: Picture | Refused): picture is Refused {
  return "refused" in picture;
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const held = map.get(key);
  if (held === undefined) map.set(key, [value]);
  else held.push(value);
}
