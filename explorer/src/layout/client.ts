/** Asks the worker for layouts, one at a time; a newer wish ends the one in progress. */

import type { Graph } from "@viz-js/viz";
import type { Counts, Drawing, Reply, Request } from "./drawing";

export class Layouts {
  private worker: Worker | null = null;
  private job = 0;
  private readonly done = new Map<string, Drawing>();
  private waiting: { key: string; resolve: (drawing: Drawing) => void; reject: (error: Error) => void } | null = null;

  /** @param code of the worker, as a script. */
  constructor(private readonly code: string) {}

  known(key: string): Drawing | undefined {
    return this.done.get(key);
  }

  /** The layout of a graph, kept under `key`. It is rejected with `Cancelled` where a newer one is asked for. */
  layout(key: string, graph: Graph, counts: Counts): Promise<Drawing> {
    this.cancel();
    return new Promise((resolve, reject) => {
      this.waiting = { key, resolve, reject };
      const request: Request = { job: ++this.job, graph, counts };
      (this.worker ??= this.started()).postMessage(request);
    });
  }

  cancel(): void {
    if (this.waiting === null) return;
    this.worker?.terminate();
    this.worker = null;
    const { reject } = this.waiting;
    this.waiting = null;
    reject(new Cancelled());
  }

  private started(): Worker {
    const url = URL.createObjectURL(new Blob([this.code], { type: "text/javascript" }));
    const worker = new Worker(url);
    worker.addEventListener("message", (event: MessageEvent<Reply>) => this.answered(event.data));
    worker.addEventListener("error", (event) => this.answered({ job: this.job, error: event.message || "the worker failed" }));
    return worker;
  }

  private answered(reply: Reply): void {
    if (this.waiting === null || reply.job !== this.job) return;
    const { key, resolve, reject } = this.waiting;
    this.waiting = null;
    if ("error" in reply) return reject(new Error(reply.error));
    this.done.set(key, reply.drawing);
    resolve(reply.drawing);
  }
}

export class Cancelled extends Error {}
