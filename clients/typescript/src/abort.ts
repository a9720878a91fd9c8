import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Makes a signal that is aborted by another one, or after a time.
 *
 * It holds both until it is closed. `AbortSignal.any` and `Request` hold signals weakly: after a
 * garbage collection no abort arrives (nodejs/undici#3644).
 */
export function abortScope(outer: AbortSignal | null | undefined, ms = Infinity) {
  const own = new AbortController();
  const abort = () => own.abort(outer?.reason);
  const expire = () => own.abort(new DOMException(`took more than ${ms} ms`, "TimeoutError"));
  const timer = ms < 2 ** 31 ? setTimeout(expire, ms) : undefined; // a timer takes 24 days
  const stopClock = () => clearTimeout(timer);
  const close = () => (stopClock(), outer?.removeEventListener("abort", abort));
  if (outer) setMaxListeners(0, outer); // one may end any number of calls at once
  outer?.addEventListener("abort", abort);
  if (outer?.aborted) abort();
  return { signal: own.signal, abort, stopClock, close };
}

/** Waits; rejects with the signal's reason once that is aborted. */
export function pause(ms: number, signal?: AbortSignal | null): Promise<void> {
  return sleep(ms, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
}
