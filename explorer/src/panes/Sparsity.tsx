/** The sparsity of the Hessian as a picture: a dot for each entry that may differ from zero, lines between sites. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useExplorer } from "../explorer";
import { count } from "../format";
import type { Hessian } from "../types";

const SIDE = 360;

export function Sparsity({ hessian }: { hessian: Hessian }) {
  const { state, act } = useExplorer();
  const { dim, entries, nonzeros, blocks } = hessian;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [at, setAt] = useState<[number, number] | null>(null);
  const cells = useMemo(() => new Set(nonzeros.map(([row, column]) => row * dim + column)), [nonzeros, dim]);
  useEffect(() => {
    // in the next frame: the page wears its colours once all effects have run
    const frame = requestAnimationFrame(() => draw(canvas.current!, hessian, state.sites));
    return () => cancelAnimationFrame(frame);
  }, [hessian, state.sites, state.dark]);
  const under = (event: MouseEvent): [number, number] => {
    const { left, top, width, height } = canvas.current!.getBoundingClientRect();
    const index = (part: number) => Math.min(Math.max(Math.floor(part * dim), 0), dim - 1);
    return [index((event.clientY - top) / height), index((event.clientX - left) / width)];
  };
  const siteOf = (entry: number) => blocks.find(({ offset, size }) => entry >= offset && entry < offset + size)?.site;
  const choose = (event: MouseEvent) => {
    const sites = [...new Set(under(event).map(siteOf))].filter((name) => name !== undefined);
    act({ do: "select", selection: { sites } });
  };
  const filled = 2 * nonzeros.length - nonzeros.filter(([row, column]) => row === column).length;
  const summary = `${count(dim)} × ${count(dim)}, ${count(filled)} entries may differ from zero (${percent(filled / dim ** 2)})`;
  if (dim === 0) return <p class="empty">There are no latent entries.</p>;
  return (
    <>
      <p>{summary}. {hessian.about}</p>
      <canvas ref={canvas} class="hessian" role="img" aria-label={`Sparsity of the Hessian: ${summary}`}
        onMouseMove={(event) => setAt(under(event))} onMouseLeave={() => setAt(null)} onClick={choose} />
      <p class="readout" aria-live="off">
        {at === null ? "Point at an entry for its names." : (
          <><b>{entries[at[0]]}</b> and <b>{entries[at[1]]}</b>: {cells.has(Math.max(...at) * dim + Math.min(...at)) ? "coupled" : "zero"}</>
        )}
      </p>
    </>
  );
}

function percent(part: number): string {
  return `${part < 0.1 ? (100 * part).toPrecision(2) : Math.round(100 * part)}%`;
}

function draw(canvas: HTMLCanvasElement, { dim, nonzeros, blocks }: Hessian, sites: readonly string[]): void {
  const scale = window.devicePixelRatio || 1;
  const side = Math.round(SIDE * scale);
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d")!;
  const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name);
  const cell = side / dim;
  pen.fillStyle = colour("--paper");
  pen.fillRect(0, 0, side, side);
  pen.fillStyle = colour("--chosen");
  for (const { site, offset, size } of blocks) {
    if (!sites.includes(site)) continue;
    pen.fillRect(0, offset * cell, side, size * cell);
    pen.fillRect(offset * cell, 0, size * cell, side);
  }
  pen.fillStyle = colour("--ink");
  const dot = Math.max(cell - (cell > 6 ? 1 : 0), 1);
  for (const [row, column] of nonzeros) {
    pen.fillRect(column * cell, row * cell, dot, dot);
    pen.fillRect(row * cell, column * cell, dot, dot);
  }
  pen.fillStyle = colour("--accent");
  for (const { offset } of blocks) {
    if (offset === 0) continue;
    pen.globalAlpha = 0.45;
    pen.fillRect(0, Math.round(offset * cell), side, 1);
    pen.fillRect(Math.round(offset * cell), 0, 1, side);
  }
  pen.globalAlpha = 1;
}
