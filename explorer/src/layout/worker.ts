/** Lays graphs out beside the page, which stays answerable; a layout is cancelled by ending this worker. */

import { instance } from "@viz-js/viz";
import type { Reply, Request } from "./drawing";
import { type Laid, toDrawing } from "./graphviz";

const graphviz = instance();

addEventListener("message", async (event: MessageEvent<Request>) => {
  const { job, graph, counts } = event.data;
  try {
    const laid = (await graphviz).renderString(graph, { format: "json0", engine: "dot", yInvert: true });
    answer({ job, drawing: toDrawing(JSON.parse(laid) as Laid, counts) });
  } catch (error) {
    answer({ job, error: error instanceof Error ? error.message : String(error) });
  }
});

function answer(reply: Reply): void {
  postMessage(reply);
}
