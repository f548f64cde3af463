// Builds auditdrain and runs its demo: the service, a simulated AWS and a
// producer of one event a second, all on loopback and in a temporary folder.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** What the demo sets up. */
export const team = { id: "team_demo", slug: "acme", name: "Acme Inc." };
export const bucket = "acme-audit-archive";
export const roleArn = "arn:aws:iam::123456789012:role/vercel-drain-writer";

export class Demo {
  /** Resolves once requests are answered. */
  static async start() {
    const demo = new Demo();
    try {
      await demo.#start();
    } catch (err) {
      await demo.kill();
      throw err;
    }
    return demo;
  }

  #dir = mkdtempSync(join(tmpdir(), "auditdrain-sdk-"));
  #child;
  #exited; // promise of { code, signal }
  #output = "";

  async #start() {
    const binary = join(this.#dir, "auditdrain");
    execFileSync("go", ["build", "-o", binary, "./cmd/auditdrain"], {
      cwd: repository,
      env: { ...process.env, CGO_ENABLED: "0" },
      stdio: "inherit",
    });
    // The duration is for the day that nobody lives to end it.
    this.#child = spawn(binary, ["demo", "--dir", join(this.#dir, "demo"), "--listen", "127.0.0.1:0", "--rate", "1", "--duration", "10m"], {
      env: { PATH: process.env.PATH },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#exited = new Promise((resolve) => this.#child.once("close", (code, signal) => resolve({ code, signal })));
    this.url = await new Promise((resolve, reject) => {
      this.#child.once("error", reject);
      this.#child.once("close", () => reject(new Error(`demo ended at once:\n${this.#output}`)));
      for (const stream of [this.#child.stdout, this.#child.stderr]) {
        stream.setEncoding("utf8").on("data", (chunk) => {
          this.#output += chunk;
          const found = /service +(http:\S+)/.exec(this.#output);
          if (found) resolve(found[1]);
        });
      }
    });
    this.token = readFileSync(join(this.#dir, "demo/data/operator-token"), "utf8").trim();
  }

  /** Ends the demo as an operator would; returns how that went. */
  async stop() {
    this.#child.kill("SIGTERM");
    return { ...(await this.#exited), output: this.#output };
  }

  /** Leaves nothing behind, whatever has happened. */
  async kill() {
    if (this.#child?.pid) {
      this.#child.kill("SIGKILL");
      await this.#exited;
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** A call of the REST API that the SDK does not have. */
  async call(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** File names of the objects of delivered events, oldest event first. */
  objects() {
    return readdirSync(join(this.#dir, "demo/s3", bucket), { recursive: true })
      .filter((path) => path.startsWith("audit-logs/schema=audit_log/") && path.endsWith(".jsonl"))
      .map((path) => basename(path))
      .sort();
  }
}

/** Resolves to the first truthy value of probe. */
export async function eventually(what, probe) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
