// Parses the Athena statements of internal/setup's golden files. Athena reads CREATE TABLE as Hive does, and all else as
// Trino does.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

import { HiveSQL, TrinoSQL } from "dt-sql-parser";

const golden = join(import.meta.dirname, "../../internal/setup/testdata");

/** What is wrong with the statements, each in the language that Athena takes it for. */
function problems(text) {
  const end = text.indexOf(";\n\n") + 2; // of CREATE TABLE, which comes first
  return [...new HiveSQL().validate(text.slice(0, end)), ...new TrinoSQL().validate(text.slice(end))];
}

const mistakes = {
  "open parenthesis": ["  event string\n)", "  event string\n"],
  "unknown clause": ["STORED AS TEXTFILE", "STORED WITH TEXTFILE"],
  "open string": ["'projection.enabled' =", "'projection.enabled ="],
  "missing comma": ["AS id,", "AS id"],
  "unknown statement": ["CREATE OR REPLACE VIEW", "CREATE OR CHANGE VIEW"],
};

describe("Athena statements", () => {
  for (const kit of readdirSync(golden).filter((name) => name !== "fuzz")) { // that one is the Go fuzzer's
    it(`${kit} can be parsed`, () => {
      assert.deepEqual(problems(readFileSync(join(golden, kit, "athena.sql"), "utf8")), []);
    });
  }
  for (const [what, [good, bad]] of Object.entries(mistakes)) {
    it(`with a mistake would be found out: ${what}`, (t) => {
      t.mock.method(console, "error", () => {}); // where the parser says it, too
      const text = readFileSync(join(golden, "prefix", "athena.sql"), "utf8");
      assert.ok(text.includes(good), `no ${good}`);
      assert.notDeepEqual(problems(text.replace(good, bad)), []);
    });
  }
});
