/**
 * Lines of code, of which only those in sight are in the document: a list of 20,000 scrolls as one of 20.
 *
 * It is a listbox: the arrows move a cursor, Enter chooses the line. Short texts are there whole, so that the browser's
 * own search finds them.
 */

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

export const ROW = 19;
const WHOLE = 300;
const BEYOND = 30;

interface Props {
  label: string;
  count: number;
  /** Characters of a line, for the width of the whole. */
  length: (line: number) => number;
  show: (line: number) => ComponentChildren;
  /** In the margin. */
  number: (line: number) => string;
  className: (line: number) => string;
  /** Lines that belong to the selection, in order. */
  selected: readonly number[];
  /** The line to begin with, where nothing is selected. */
  start?: number;
  /** A line to bring into sight, again with each new object. */
  reveal?: { line: number } | null;
  onChoose: (line: number) => void;
}

export function LongText(props: Props) {
  const { count, selected } = props;
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 800 });
  const [cursor, setCursor] = useState<number | null>(null);
  const chosen = useMemo(() => new Set(selected), [selected]);
  const columns = useMemo(() => widest(count, props.length), [count, props.length]);

  useEffect(() => {
    const element = box.current!;
    const look = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const watch = new ResizeObserver(look);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    const { start } = props;
    if (start !== undefined && selected.length === 0 && !inSight(box.current!, start)) bringIntoSight(box.current!, start);
  }, []);
  useEffect(() => {
    if (selected.length > 0 && !selected.some((line) => inSight(box.current!, line))) bringIntoSight(box.current!, selected[0]!);
  }, [selected]);

  useEffect(() => {
    if (props.reveal) bringIntoSight(box.current!, props.reveal.line);
  }, [props.reveal]);

  const all = count <= WHOLE;
  const first = all ? 0 : Math.max(0, Math.floor(view.top / ROW) - BEYOND);
  const last = all ? count : Math.min(count, Math.ceil((view.top + view.height) / ROW) + BEYOND);
  const id = (line: number) => `${props.label.replace(/\W+/g, "-")}-${line}`;
  const move = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -count, End: count };
    if (event.key in steps) {
      const line = Math.min(Math.max((cursor ?? selected[0] ?? 0) + steps[event.key]!, 0), count - 1);
      setCursor(line);
      if (!inSight(box.current!, line)) bringIntoSight(box.current!, line);
    } else if (event.key === "Enter" && cursor !== null) props.onChoose(cursor);
    else return;
    event.preventDefault();
  };
  return (
    <div class="long-text" ref={box} tabIndex={0} role="listbox" aria-label={props.label} aria-multiselectable="true"
      aria-activedescendant={cursor === null ? undefined : id(cursor)} onKeyDown={move}
      onScroll={(event) => setView({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight })}>
      <div class="rows" style={{ height: `${count * ROW}px`, minWidth: `calc(${columns + 2}ch + 5.5em)` }}>
        <div class="window" style={{ transform: `translateY(${first * ROW}px)` }}>
          {range(first, last).map((line) => (
            <div key={line} id={id(line)} role="option" aria-selected={chosen.has(line)} aria-setsize={count} aria-posinset={line + 1}
              class={`row ${props.className(line)} ${chosen.has(line) ? "selected" : ""} ${cursor === line ? "cursor" : ""}`}
              onClick={() => props.onChoose(line)}>
              <span class="number" aria-hidden="true">{props.number(line)}</span>
              <code>{props.show(line)}</code>
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}

function widest(count: number, length: (line: number) => number): number {
  let most = 0;
  for (let line = 0; line < count; line++) most = Math.max(most, length(line));
  return most;
}

function inSight(box: HTMLElement, line: number): boolean {
  return line * ROW >= box.scrollTop && (line + 1) * ROW <= box.scrollTop + box.clientHeight;
}

function bringIntoSight(box: HTMLElement, line: number): void {
  box.scrollTop = Math.max(0, line * ROW - box.clientHeight / 3);
}

function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
}
