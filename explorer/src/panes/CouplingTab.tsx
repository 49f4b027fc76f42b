/** How plates are coupled in the Hessian, and its sparsity. */

import { useExplorer } from "../explorer";
import { SiteLink } from "../parts/SiteLink";
import { Sparsity } from "./Sparsity";

const MEANING = {
  none: "the Hessian has zeros between them",
  diagonal: "each element meets its own alone",
  sparse: "some elements meet",
  dense: "all elements meet",
};

export function CouplingTab() {
  const { model, state } = useExplorer();
  const { coupling, hessian, no_hessian } = model.page;
  return (
    <>
      <h2>Coupling</h2>
      {coupling.length === 0 ? <p class="empty">There is nothing to couple.</p> : (
        <table class="coupling">
          <thead><tr><th scope="col">Between</th><th scope="col">and</th><th scope="col">Coupling</th></tr></thead>
          <tbody>
            {coupling.map(({ a, b, how, along }) => (
              <tr class={state.sites.includes(a) || state.sites.includes(b) ? "selected" : ""}>
                <td><SiteLink name={a} /></td>
                <td>{a === b ? <span class="muted">itself</span> : <SiteLink name={b} />}</td>
                <td title={MEANING[how]}><i class={`how ${how}`} aria-hidden="true" />{how}{along !== null && <> along {along}</>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <h2>Hessian</h2>
      {hessian === null ? <p class="empty">{no_hessian || "The Hessian was not looked at."}</p> : <Sparsity hessian={hessian} />}
    </>
  );
}
