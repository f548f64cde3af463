// Validates /openapi.json, and what is answered against it.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";

import { Demo, team } from "./demo.js";

describe("/openapi.json", () => {
  let demo, document;
  before(async () => {
    demo = await Demo.start();
    document = await demo.call("GET", "/openapi.json");
  });
  after(() => demo?.kill());

  /** What is wrong with a document, or null. */
  async function problems(document) {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(structuredClone(document));
    if (!valid) return errors;
    assert.equal(validator.version, "3.1");
    validator.resolveRefs(); // throws if one leads nowhere
    // The specification's own schema does not look into JSON schemas.
    const ajv = new Ajv2020({ strict: false });
    for (const [name, schema] of Object.entries(document.components.schemas)) {
      if (!ajv.validateSchema(schema)) return { [name]: ajv.errors };
    }
    return null;
  }

  it("is valid OpenAPI 3.1, with valid schemas", async () => {
    assert.equal(await problems(document), null);
  });

  it("would be found out if it were not", async () => {
    for (const [what, spoil] of [
      ["an unknown field", (d) => (d.paths["/v1/drains"].get.respones = {})],
      ["a parameter without a place", (d) => delete d.paths["/v1/drains/{id}"].get.parameters[0].in],
      ["an impossible type", (d) => (d.components.schemas.Drain.properties.id.type = "text")],
    ]) {
      const spoilt = structuredClone(document);
      spoil(spoilt);
      assert.ok(await problems(spoilt), what);
    }
  });

  it("describes what is answered", async () => {
    const ajv = new Ajv2020({ strict: false, allErrors: true }).addSchema(document, "api");
    const { drains } = await demo.call("GET", `/v1/drains?teamId=${team.id}`);
    // There is nothing to show of a replay before there has been one.
    await demo.call("POST", `/v1/drains/${drains[0].id}/replay`, { from: 1 });
    let described = 0;
    for (const [path, { get }] of Object.entries(document.paths)) {
      const schema = get?.responses["200"].content?.["application/json"].schema;
      if (!schema) continue;
      const values = { includeMetadata: "true", teamId: team.id };
      const query = new URLSearchParams((get.parameters ?? []).filter(({ name }) => name in values).map(({ name }) => [name, values[name]]));
      const answer = await demo.call("GET", `${path.replace("{id}", drains[0].id).replace("{idOrSlug}", team.slug)}?${query}`);
      const validate = ajv.compile({ $ref: `api${schema.$ref}` });
      assert.ok(validate(answer), `${path}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(answer)}`);
      described++;
    }
    assert.ok(described >= 8, `only ${described} answers are described`);
  });
});
