/** Unpacks the data and the layout's code, which stand in the page as base64 of gzip, and draws the page. */

import { render } from "preact";
import { App } from "./App";
import { Layouts } from "./layout/client";
import { Model } from "./model";
import type { Page } from "./types";

async function unpacked(id: string): Promise<string> {
  const packed = Uint8Array.from(atob(document.getElementById(id)!.textContent!.trim()), (char) => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function start(): Promise<void> {
  const root = document.getElementById("page")!;
  try {
    const [data, worker, notices] = await Promise.all(["plait-data", "plait-worker", "plait-notices"].map(unpacked));
    const page = JSON.parse(data!) as Page;
    if (page.schema !== "plait.explorer/1") throw new Error(`its data are ${String(page.schema)}, not plait.explorer/1`);
    root.textContent = "";
    render(<App model={new Model(page)} layouts={new Layouts(worker!)} notices={notices!} />, root);
  } catch (error) {
    root.textContent = `This page could not be shown: ${error instanceof Error ? error.message : String(error)}.`;
  }
}

void start();
