/** The two dialogs: the keys, and what the page is made of. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useExplorer } from "../explorer";

export function Dialogs({ notices }: { notices: string }) {
  const { state } = useExplorer();
  if (state.dialog === "help") return <Help />;
  if (state.dialog === "about") return <About notices={notices} />;
  return null;
}

function Dialog({ title, children }: { title: string; children: ComponentChildren }) {
  const { act } = useExplorer();
  const dialog = useRef<HTMLDialogElement>(null);
  const close = () => act({ do: "set", state: { dialog: null } });
  useEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog ref={dialog} aria-label={title} onClose={close} onClick={(event) => event.target === dialog.current && close()}>
      <div class="dialog">
        <header><h1>{title}</h1><button onClick={close} aria-label="Close">×</button></header>
        {children}
      </div>
    </dialog>
  );
}

const KEYS: [string, string][] = [
  ["/", "search sites, lines and equations"],
  ["[ and ]", "the stage before, the next one"],
  ["1 2 3", "sites; sites and code; every equation"],
  ["+ and −", "closer, farther"],
  ["f", "fit the graph into its pane"],
  ["w", "the graph alone, in the whole window"],
  ["b", "outline the Markov blanket"],
  ["d", "dark or light"],
  ["Tab", "into the graph, and out of it"],
  ["arrows", "in the graph: the next node in that direction; in a text: the cursor"],
  ["Enter", "choose the node or line; fold or unfold a plate"],
  ["Esc", "select nothing"],
  ["?", "this list"],
];

function Help() {
  return (
    <Dialog title="Keys">
      <dl class="keys">{KEYS.map(([key, what]) => <><dt><kbd>{key}</kbd></dt><dd>{what}</dd></>)}</dl>
      <p>Scroll to zoom, drag to move. Click the name of a plate to fold it. Everything that belongs to a site is marked in all panes at once.</p>
    </Dialog>
  );
}

function About({ notices }: { notices: string }) {
  const { model } = useExplorer();
  const { plait, jax, precision } = model.page;
  return (
    <Dialog title="About this page">
      <p>Made by plait {plait} with jax {jax}, {precision}. It is one file, and asks the network for nothing.</p>
      <h2>Software in it</h2>
      <pre class="notices">{notices}</pre>
    </Dialog>
  );
}
