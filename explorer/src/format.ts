/** Numbers and names as they are read. */

import type { Num } from "./types";

const WHOLE = new Intl.NumberFormat("en-US");

export function count(n: number): string {
  return WHOLE.format(n);
}

/** "1 node", "1,203 nodes" */
export function counted(n: number, noun: string): string {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** Bytes as 12 kB: powers of ten, as file sizes are. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(n < 1000 ? 0 : Math.floor(Math.log10(n) / 3), units.length - 1);
  return power === 0 ? `${n} B` : `${trimmed((n / 1000 ** power).toPrecision(3))} ${units[power]}`;
}

export function isFinite(value: unknown): boolean {
  return typeof value !== "string" || !["nan", "inf", "-inf"].includes(value);
}

/** A number of the density: six digits; "−inf" and "NaN" in words. */
export function number(value: Num | undefined): string {
  if (value === undefined) return "";
  if (value === "nan") return "NaN";
  if (typeof value === "string") return value.replace("-", "−");
  const size = Math.abs(value);
  const text = Number.isInteger(value) && size < 1e6 ? count(value) : trimmed(value.toPrecision(6));
  return text.replace("-", "−");
}

function trimmed(text: string): string {
  return text.replace(/(\.\d*?)0+(?=e|$)/, "$1").replace(/\.(?=e|$)/, "");
}

/** A value of a site, of any rank, cut where it is long. */
export function value(held: unknown, limit = 160): string {
  const text = written(held, limit);
  return text.length > limit ? `${text.slice(0, limit)} …` : text;
}

function written(held: unknown, limit: number): string {
  if (Array.isArray(held)) {
    let text = "";
    for (const item of held) {
      if (text.length > limit) break;
      text += (text === "" ? "" : ", ") + written(item, limit);
    }
    return `[${text}]`;
  }
  if (typeof held === "number" || typeof held === "string") return number(held);
  return String(held);
}

/** Whether a value has an entry that is not finite, at any depth. */
export function allFinite(held: unknown): boolean {
  return Array.isArray(held) ? held.every(allFinite) : isFinite(held);
}

/** "a, b and c" */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? (names[0] ?? "nothing") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
