/** How sites are coupled in the Hessian, pair by pair, and its sparsity. */

import { useMemo } from "preact/hooks";
import { useExplorer } from "../explorer";
import { SiteLink } from "../parts/SiteLink";
import type { Coupling } from "../types";
import { Sparsity } from "./Sparsity";

const MEANING = {
  none: "zeros between them",
  diagonal: "each element meets its own alone",
  sparse: "some elements meet",
  dense: "all elements meet",
};
/** With more names there is a list alone. */
const LARGEST = 24;

export function CouplingTab() {
  const { model } = useExplorer();
  const { coupling, hessian, no_hessian } = model.page;
  const names = useMemo(() => [...new Set(coupling.flatMap(({ a, b }) => [a, b]))], [coupling]);
  return (
    <>
      <h2>Coupling</h2>
      {coupling.length === 0 ? <p class="empty">There is nothing to couple.</p> : (
        <>
          {names.length <= LARGEST && <Matrix names={names} coupling={coupling} />}
          <Words coupling={coupling} />
        </>
      )}
      <h2>Hessian</h2>
      {hessian === null ? <p class="empty">{no_hessian || "The Hessian was not looked at."}</p> : <Sparsity hessian={hessian} />}
    </>
  );
}

function Matrix({ names, coupling }: { names: readonly string[]; coupling: readonly Coupling[] }) {
  const { state, act } = useExplorer();
  const pairs = useMemo(() => {
    const found = new Map<string, Coupling>();
    for (const pair of coupling) for (const key of [[pair.a, pair.b], [pair.b, pair.a]]) found.set(JSON.stringify(key), pair);
    return found;
  }, [coupling]);
  const chosen = (name: string) => state.sites.includes(name);
  return (
    <table class="matrix">
      <tbody>
        {names.map((row, i) => (
          <tr key={row}>
            <th scope="row"><SiteLink name={row} /></th>
            {names.slice(0, i + 1).map((column) => {
              const pair = pairs.get(JSON.stringify([row, column]));
              if (pair === undefined) return <td key={column} />;
              const words = `${row === column ? row : `${column} and ${row}`}: ${said(pair)}`;
              return (
                <td key={column} class={chosen(row) || chosen(column) ? "selected" : ""}>
                  <button class={`how ${pair.how}`} title={words} aria-label={words}
                    onClick={() => act({ do: "select", selection: { sites: [...new Set([column, row])] } })} />
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function said({ how, along }: Coupling): string {
  return along === null ? how : `${how} along ${along}`;
}

/** The pairs of the selection in words; without one, those that are neither zero nor full. */
function Words({ coupling }: { coupling: readonly Coupling[] }) {
  const { state } = useExplorer();
  const of = coupling.filter(({ a, b }) => state.sites.includes(a) || state.sites.includes(b));
  const shown = of.length > 0 ? of : coupling.filter(({ how }) => how === "diagonal" || how === "sparse");
  return (
    <>
      <p class="meanings">
        {(["dense", "sparse", "diagonal", "none"] as const).map((how) => <span key={how}><i class={`how ${how}`} aria-hidden="true" /> {how}: {MEANING[how]}</span>)}
      </p>
      <table class="coupling">
        <tbody>
          {shown.map((pair) => (
            <tr key={JSON.stringify([pair.a, pair.b])}>
              <td><SiteLink name={pair.a} /></td>
              <td>{pair.a === pair.b ? <span class="muted">itself</span> : <SiteLink name={pair.b} />}</td>
              <td><i class={`how ${pair.how}`} aria-hidden="true" /> {said(pair)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
