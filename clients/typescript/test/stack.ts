import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { resolve } from "node:path";
import type { Line } from "../src/index.js";

/** The repository: tests run in the folder of the package. */
const ROOT = resolve("../..");

export interface Stack {
  url: string;
  token: string;
  /** Ends the gateway, by a signal that it hears or not, or starts it again. */
  gateway(what: "stop" | "kill" | "start"): Promise<void>;
  close(): Promise<void>;
}

/** Starts a queue with a worker and a gateway, which gets the settings. */
export async function startStack(...settings: string[]): Promise<Stack> {
  const python = process.env.PYTHON ?? `${ROOT}/.venv/bin/python`;
  const command = ["-m", "tests.clients.stack", ...settings];
  const env = { ...process.env, PYTHONPATH: ROOT };
  const child = spawn(python, command, { cwd: ROOT, env, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const said = async () => String((await lines.next()).value);
  const { url, token } = JSON.parse(await said()) as { url: string; token: string };
  const gateway = async (what: string) => {
    child.stdin.write(`${what}\n`);
    await said();
  };
  const close = async () => {
    child.stdin.end();
    await once(child, "exit");
  };
  return { url, token, gateway, close };
}

export const line = (custom_id: string): Line => ({
  custom_id,
  kind: "task",
  body: { prompt: "Read the price.", url: `https://shop.test/${custom_id}` },
});
