/** d-separation by clicking: sites A, sites B, what is given; the answer in a sentence. */

import { useMemo } from "preact/hooks";
import { type Answer, separated } from "../dseparation";
import { useExplorer } from "../explorer";
import { listed } from "../format";
import type { Question, Role } from "../state";

const ROLES: { role: Role; name: string; about: string }[] = [
  { role: "a", name: "A", about: "one side" },
  { role: "b", name: "B", about: "the other" },
  { role: "given", name: "Given", about: "known values" },
];

export function IndependenceTab() {
  const { model, state, act } = useExplorer();
  const { question } = state;
  const observed = model.page.sites.filter((site) => site.kind === "observed").map((site) => site.name);
  const free = observed.filter((name) => !question.a.includes(name) && !question.b.includes(name) && !question.given.includes(name));
  return (
    <>
      <p class="hint">Does the graph make A independent of B? Click sites in the graph, or choose them here.</p>
      {ROLES.map(({ role, name, about }) => <Chosen key={role} role={role} name={name} about={about} />)}
      <p>
        <button disabled={free.length === 0} onClick={() => act({ do: "ask", question: { given: [...question.given, ...free] } })}>Give what is observed</button>{" "}
        <button onClick={() => act({ do: "ask", question: { a: [], b: [], given: [], picking: "a" } })}>Clear</button>
      </p>
      <div aria-live="polite" class="answer"><Verdict question={question} /></div>
      <p class="fine">
        Factors, data and params count as given; a deterministic does once all its parents are. A site stands for all its
        elements and steps at once. By the moral ancestral graph (Lauritzen et al. 1990).
      </p>
    </>
  );
}

function Chosen({ role, name, about }: { role: Role; name: string; about: string }) {
  const { model, state, act } = useExplorer();
  const { question } = state;
  const left = model.page.sites.filter((site) => !question[role].includes(site.name));
  return (
    <fieldset class={`role role-${role}`}>
      <legend>
        <label><input type="radio" name="picking" checked={question.picking === role} onChange={() => act({ do: "ask", question: { picking: role } })} /> {name}</label>
        <small> {about}</small>
      </legend>
      {question[role].map((site) => (
        <button key={site} class="chip" aria-label={`Take ${site} out`} onClick={() => act({ do: "pick", site, role })}>{site} <span aria-hidden="true">×</span></button>
      ))}
      <select aria-label={`Add a site to ${name}`} value="" onChange={(event) => {
        const site = left[Number(event.currentTarget.value)];
        event.currentTarget.value = "";
        if (site !== undefined) act({ do: "pick", site: site.name, role });
      }}>
        <option value="">add …</option>
        {left.map((site, i) => <option key={site.name} value={i}>{site.name}</option>)}
      </select>
    </fieldset>
  );
}

function Verdict({ question }: { question: Question }) {
  const { model } = useExplorer();
  const { a, b, given } = question;
  const answer = useMemo(() => (a.length > 0 && b.length > 0 ? separated(model.site, a, b, given) : null), [model, a, b, given]);
  if (answer === null) return <p class="hint">Choose {a.length === 0 ? "A" : "B"}.</p>;
  return (
    <>
      <p class={answer.separated ? "yes" : "no"}><b>{sentence(question, answer)}</b></p>
      {!answer.separated && answer.path.length > 1 && <p class="formula">{answer.drawn}</p>}
      {answer.colliders.length > 0 && <p>{listed(answer.colliders)} joins its parents, since it or something that it leads to is given.</p>}
      {answer.known.length > 0 && <p>{listed(answer.known)} {answer.known.length === 1 ? "is" : "are"} known already.</p>}
    </>
  );
}

function sentence({ a, b, given }: Question, answer: Answer): string {
  const known = given.length === 0 ? "" : ` given ${listed(given)}`;
  const sides = `${listed(a)} and ${listed(b)}`;
  return answer.separated ? `${sides} are independent${known}.` : `The graph does not separate ${sides}${known}.`;
}
