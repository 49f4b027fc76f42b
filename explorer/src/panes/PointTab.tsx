/** The log density at a point, term by term; what is not finite is said first and loudly. */

import { useExplorer } from "../explorer";
import { allFinite, number, value } from "../format";
import { SiteLink } from "../parts/SiteLink";

export function isBad(held: unknown): boolean {
  return held !== undefined && !allFinite(held);
}

/** Which point, where there are several. */
export function PointChoice() {
  const { model, state, act } = useExplorer();
  const { points } = model.page;
  if (points.length < 2) return null;
  return (
    <label class="point-choice">Point{" "}
      <select value={state.point} onChange={(event) => act({ do: "set", state: { point: Number(event.currentTarget.value) } })}>
        {points.map((point, i) => <option value={i}>{point.name}{point.first === null ? "" : " (not finite)"}</option>)}
      </select>
    </label>
  );
}

export function PointTab() {
  const { model, state } = useExplorer();
  const point = model.page.points[state.point];
  if (point === undefined) return <p class="empty">The density was evaluated at no point.</p>;
  const values = Object.entries(point.values);
  const terms = Object.entries(point.terms);
  const site = new Map(model.page.terms.map((term) => [term.name, term.site]));
  return (
    <>
      <PointChoice />
      <h1>{point.name}</h1>
      <Unwell />
      <p>Log density <b class={isBad(point.total) ? "bad" : "total"}>{number(point.total)}</b> nats</p>
      {terms.length > 0 && <h2>Terms</h2>}
      <table>
        <tbody>
          {terms.map(([name, nats]) => (
            <tr key={name} class={state.sites.includes(site.get(name) ?? name) ? "selected" : ""}>
              <td><SiteLink name={site.get(name) ?? name} />{site.has(name) && site.get(name) !== name && <span class="muted"> {name}</span>}</td>
              <td class={`num ${isBad(nats) ? "bad" : ""}`}>{number(nats)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {values.length > 0 && <h2>Values</h2>}
      <table>
        <tbody>
          {values.map(([name, held]) => (
            <tr key={name} class={state.sites.includes(name) ? "selected" : ""}>
              <td><SiteLink name={name} /></td>
              <td class={`value ${isBad(held) ? "bad" : ""}`}>{value(held)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

/** The first −inf or NaN of the chosen point. */
export function Unwell() {
  const { model, state, act } = useExplorer();
  const first = model.page.points[state.point]?.first ?? null;
  if (first === null) return null;
  const go = () => act({ do: "select", selection: first.site === null ? { line: first.line } : { sites: [first.site] } });
  return (
    <div class="alarm-box" role="alert">
      <p><b>{first.where}</b></p>
      <p>{first.sentence}</p>
      {(first.site !== null || first.line !== null) && <button onClick={go}>Show {first.site ?? `line ${first.line}`}</button>}
    </div>
  );
}
