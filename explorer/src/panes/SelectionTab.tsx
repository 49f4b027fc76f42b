/** What is selected: a site with its neighbours and terms, a node of the picture, or a line. */

import { useMemo } from "preact/hooks";
import { useExplorer } from "../explorer";
import { count, counted, number, value } from "../format";
import { isRefused } from "../model";
import { SiteLink, SiteLinks } from "../parts/SiteLink";
import type { PNode, Site } from "../types";
import { isBad } from "./PointTab";
import { Term } from "./TermsTab";

export function SelectionTab() {
  const { model, state } = useExplorer();
  const node = useNode();
  const sites = state.sites.flatMap((name) => model.site.get(name) ?? []);
  if (sites.length > 1) return <Several names={state.sites} />;
  if (sites[0] !== undefined) return <OneSite site={sites[0]} node={node} />;
  if (node !== null) return <OneNode node={node} />;
  if (state.line !== null) return <p class="empty">Line {state.line} of the source has no site of its own.</p>;
  return <Overview />;
}

/** The selected node in the picture of this stage. */
function useNode(): PNode | null {
  const { model, state } = useExplorer();
  return useMemo(() => {
    const picture = model.picture(state.stage, state.detail);
    if (state.node === null || picture === null || isRefused(picture)) return null;
    return picture.nodes.find((node) => node.id === state.node) ?? null;
  }, [model, state.stage, state.detail, state.node]);
}

/** Before anything is selected: the sites of the model. */
function Overview() {
  const { model } = useExplorer();
  const { sites, plates, notes } = model.page;
  return (
    <>
      <p class="hint">Click a node, a line or a name; <kbd>/</kbd> searches, <kbd>?</kbd> lists the keys.</p>
      <h2>{counted(sites.length, "site")}</h2>
      <table class="sites">
        <tbody>
          {sites.map((site) => (
            <tr key={site.name}>
              <td><SiteLink name={site.name} /></td>
              <td class="formula">{site.text}</td>
              <td class="muted">{site.kind}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {plates.length > 0 && <h2>{counted(plates.length, "plate")}</h2>}
      {plates.length > 0 && (
        <table>
          <tbody>
            {plates.map((plate) => (
              <tr key={plate.name}>
                <td>{plate.name}</td>
                <td class="num">{count(plate.size)}{plate.full_size !== null && ` of ${count(plate.full_size)}`}</td>
                <td><SiteLinks names={plate.sites} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {notes.length > 0 && <h2>Notes</h2>}
      {notes.map((note) => <p>{note}</p>)}
    </>
  );
}

function Several({ names }: { names: readonly string[] }) {
  return (
    <>
      <h2>{counted(names.length, "site")} on this line</h2>
      <SiteLinks names={names} />
      <p class="hint">Click the line again to go through them.</p>
    </>
  );
}

function OneSite({ site, node }: { site: Site; node: PNode | null }) {
  const { model, state, act } = useExplorer();
  const terms = model.termsOf.get(site.name) ?? [];
  const point = model.page.points[state.point];
  const held = point !== undefined && Object.hasOwn(point.values, site.name) ? point.values[site.name] : undefined;
  return (
    <>
      <h1>{site.name} <small>{site.kind}</small></h1>
      {site.text !== "" && <p class="formula big">{site.text}</p>}
      <dl>
        <dt>Shape</dt><dd><code>{site.shape || "scalar"}</code></dd>
        {site.support !== null && <><dt>Support</dt><dd>{site.support}</dd></>}
        {site.line !== null && <><dt>Line</dt><dd>{site.line}</dd></>}
        {site.plates.length > 0 && <><dt>Plates</dt><dd>{site.plates.join(", ")}</dd></>}
        <dt>Parents</dt><dd><SiteLinks names={site.parents} /></dd>
        {site.temporal.length > 0 && <><dt>From the step before</dt><dd><SiteLinks names={site.temporal} /></dd></>}
        <dt>Children</dt><dd><SiteLinks names={site.children} /></dd>
        <dt>Markov blanket</dt><dd><SiteLinks names={site.blanket} /></dd>
        {site.members.length > 0 && <><dt>Stands for</dt><dd>{members(site.members)}</dd></>}
        {held !== undefined && <><dt>Value</dt><dd><span class={isBad(held) ? "bad" : ""}>{value(held)}</span> <small class="muted">at {point!.name}</small></dd></>}
      </dl>
      {node !== null && node.kind !== site.kind && <OneNode node={node} />}
      {terms.length > 0 && <h2>{terms.length === 1 ? "Its term" : "Its terms"}</h2>}
      {terms.map((term) => (
        <div class="card" key={term.name}>
          {point !== undefined && Object.hasOwn(point.terms, term.name) && (
            <p><b class={isBad(point.terms[term.name]) ? "bad" : ""}>{number(point.terms[term.name])}</b> nats <small class="muted">at {point.name}</small></p>
          )}
          <Term term={term} />
        </div>
      ))}
      <p><button onClick={() => act({ do: "set", state: { tab: "independence" } })}>What is it independent of?</button></p>
    </>
  );
}

const SHOWN = 30;

function members(names: readonly string[]): string {
  const more = names.length - SHOWN;
  return names.slice(0, SHOWN).join(", ") + (more > 0 ? ` and ${count(more)} more` : "");
}

function OneNode({ node }: { node: PNode }) {
  return (
    <>
      <h2>{node.name || node.kind.replaceAll("_", " ")} <small>{node.kind.replaceAll("_", " ")}{node.new && ", new at this stage"}</small></h2>
      {node.text !== "" && <p class="formula">{node.text}</p>}
      <dl>
        {node.type !== "" && <><dt>Type</dt><dd><code>{node.type}</code></dd></>}
        {node.support !== null && <><dt>Support</dt><dd>{node.support}</dd></>}
        {node.line !== null && <><dt>Line</dt><dd>{node.line}</dd></>}
        {node.count !== null && <><dt>Stands for</dt><dd>{counted(node.count, "site")} that a loop made</dd></>}
      </dl>
    </>
  );
}
