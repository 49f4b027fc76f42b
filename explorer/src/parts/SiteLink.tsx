/** A site's name that selects it. */

import { useExplorer } from "../explorer";

export function SiteLink({ name }: { name: string }) {
  const { model, state, act } = useExplorer();
  if (!model.site.has(name)) return <span class="site-name">{name}</span>;
  const chosen = state.sites.includes(name);
  return (
    <button class={`site-link ${chosen ? "chosen" : ""}`} onClick={() => act({ do: "select", selection: { sites: [name] } })}>{name}</button>
  );
}

export function SiteLinks({ names }: { names: readonly string[] }) {
  if (names.length === 0) return <span class="none">none</span>;
  return <span class="site-links">{names.map((name) => <SiteLink key={name} name={name} />)}</span>;
}
