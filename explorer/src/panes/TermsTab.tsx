/** The terms of the log density: which rule took each, at what cost, and its value at the chosen point. */

import { useEffect, useRef } from "preact/hooks";
import { useExplorer } from "../explorer";
import { bytes, count, number } from "../format";
import type { Term as TermData } from "../types";
import { isBad, PointChoice } from "./PointTab";

export function TermsTab() {
  const { model, state, act } = useExplorer();
  const { terms, points, totals } = model.page;
  const body = useRef<HTMLTableSectionElement>(null);
  useEffect(() => {
    body.current?.querySelector("tr.selected")?.scrollIntoView({ block: "nearest" });
  }, [state.sites]);
  if (terms.length === 0) return <p class="empty">This model has no terms.</p>;
  const point = points[state.point];
  const at = (term: TermData) => (point !== undefined && Object.hasOwn(point.terms, term.name) ? point.terms[term.name] : undefined);
  const columns = point === undefined ? 4 : 5;
  return (
    <>
      <PointChoice />
      <table class="terms">
        <thead>
          <tr>
            <th scope="col">Term</th>
            {point !== undefined && <th scope="col" class="num" title={`Log density at ${point.name}, in nats`}>Nats</th>}
            <th scope="col" class="num">Rows</th>
            <th scope="col" class="num" title="Operations of a call">Operations</th>
            <th scope="col" class="num" title="Bytes that a call reads">Bytes</th>
          </tr>
        </thead>
        <tbody ref={body}>
          {terms.map((term) => {
            const chosen = state.sites.includes(term.site);
            const choose = () => act({ do: "select", selection: { sites: [term.site] } });
            return [
              <tr key={term.name} class={`term ${chosen ? "selected" : ""}`} data-term={term.name} onClick={choose}>
                <th scope="row">
                  <button class="site-link" aria-pressed={chosen}>{term.name}</button>
                  <Verdict term={term} />
                </th>
                {point !== undefined && <td class={`num ${isBad(at(term)) ? "bad" : ""}`}>{number(at(term))}</td>}
                <td class="num"><Cost of={term.rows} as={count} /></td>
                <td class="num"><Cost of={term.flops} as={count} /></td>
                <td class="num"><Cost of={term.bytes} as={bytes} /></td>
              </tr>,
              chosen && <tr key={`${term.name} more`} class="more"><td colSpan={columns}><Term term={term} /></td></tr>,
            ];
          })}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row">All, each call</th>
            {point !== undefined && <td class={`num ${isBad(point.total) ? "bad" : ""}`}>{number(point.total)}</td>}
            <td />
            <td class="num"><Cost of={totals.flops} as={count} /></td>
            <td />
          </tr>
        </tfoot>
      </table>
    </>
  );
}

function Verdict({ term }: { term: TermData }) {
  if (term.kind === "jacobian") return <span class="verdict muted">Jacobian</span>;
  if (term.rule !== null) return <span class="verdict taken">{term.rule}</span>;
  return term.refusals.length > 0 ? <span class="verdict muted">keeps its rows</span> : null;
}

/** "20,190 → 24": before and after. */
function Cost({ of: [before, after], as }: { of: [number, number]; as: (n: number) => string }) {
  if (before === after) return <>{as(after)}</>;
  return <><span class="before">{as(before)}</span> <span class="after">→ {as(after)}</span></>;
}

/** All that is known of one term. */
export function Term({ term }: { term: TermData }) {
  return (
    <div class="term-details">
      <p class="formula">{term.text}</p>
      {term.evaluated !== "" && term.evaluated !== term.text && <p class="formula">⇒ {term.evaluated}</p>}
      {term.rule !== null && <p>Taken by the rule <b>{term.rule}</b>: rows {count(term.rows[0])} → {count(term.rows[1])}, operations {count(term.flops[0])} → {count(term.flops[1])}.</p>}
      {term.stage === "prepare" && <p>Evaluated once for a data set, not at every call.</p>}
      {term.refusals.length > 0 && (
        <ul class="refusals">
          {term.refusals.map(({ rule, reason }) => <li key={rule}>{rule !== "" && <><b>{rule}</b> refused: </>}{reason}</li>)}
        </ul>
      )}
      {term.edit !== "" && <p class="edit">{term.edit}</p>}
    </div>
  );
}
