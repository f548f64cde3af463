// Drives auditdrain with the client that users of the reference system have.
//
// Its validation of answers is lenient: where a string or a number is missing
// it puts "" or 0. So answers are compared as a whole, never only parsed.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Vercel } from "@vercel/sdk";
import { SDKError } from "@vercel/sdk/models/sdkerror.js";

import { Demo, bucket, eventually, roleArn, team } from "./demo.js";

const delivery = {
  type: "s3",
  endpoint: `s3://${bucket}/audit-logs`,
  encoding: "ndjson",
  compression: "none",
  fileStructure: "hive",
  roleArn,
  region: "us-east-1",
};
const schemas = { audit_log: { version: "v1" } };
const teamId = team.id;

/** What the SDK makes of a drain, without what differs from drain to drain. */
const shown = {
  ownerId: teamId,
  teamId,
  // The SDK reads schemas by its own names, and no version.
  schemas: { auditLog: {} },
  source: { kind: "self-served" },
  status: "enabled",
  projectAccess: { access: "all", managedBy: "drain" },
};

describe("auditdrain through @vercel/sdk", () => {
  let demo, vercel, demoDrain;
  before(async () => {
    demo = await Demo.start();
    vercel = client(demo.token);
  });
  after(() => demo?.kill());

  const client = (bearerToken) => new Vercel({ bearerToken, serverURL: demo.url });

  /** The SDK must throw the error of an answer with this status. */
  async function refused(promise, statusCode, code, message) {
    const err = await promise.then(
      (value) => assert.fail(`not refused: ${JSON.stringify(value)}`),
      (err) => err,
    );
    assert.ok(err instanceof SDKError, `${err.name}: ${err.message}`);
    assert.equal(err.statusCode, statusCode, err.message);
    const { error } = JSON.parse(err.body);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.ok(err.message.includes(error.code), `${error.code} is not in what people see: ${err.message}`);
    return error;
  }

  const create = (requestBody) => vercel.drains.createDrain({ teamId, requestBody: { projects: "all", schemas, delivery, ...requestBody } });

  it("lists the team's drains", async () => {
    const { drains } = await vercel.drains.getDrains({ teamId, includeMetadata: true });
    assert.equal(drains.length, 1);
    demoDrain = drains[0];
    const { id, createdAt, updatedAt } = demoDrain;
    assert.match(id, /^drn_[A-Za-z0-9]{24}$/);
    assert.ok(Math.abs(Date.now() - createdAt) < 60_000, `createdAt ${createdAt}`);
    assert.deepEqual(demoDrain, { ...shown, id, name: "Security archive", createdAt, updatedAt, delivery });
    assert.deepEqual((await vercel.drains.getDrains({ slug: team.slug })).drains, drains);
    assert.deepEqual((await vercel.drains.getDrains({ teamId, projectId: "prj_1" })).drains, drains);
  });

  it("shows teams by id and slug, and creates them", async () => {
    for (const idOrSlug of [team.id, team.slug]) {
      const { id, slug, name, createdAt } = await vercel.teams.getTeam({ teamId: idOrSlug });
      assert.deepEqual({ id, slug, name }, team);
      assert.ok(Math.abs(Date.now() - createdAt) < 60_000, `createdAt ${createdAt}`);
    }
    await refused(vercel.teams.getTeam({ teamId: "nobody" }), 404, "not_found", /nobody/);

    const created = await vercel.teams.createTeam({ slug: "globex", name: "Globex" });
    assert.match(created.id, /^team_[A-Za-z0-9]{24}$/);
    assert.deepEqual(created, { id: created.id, slug: "globex" });
    assert.deepEqual((await vercel.drains.getDrains({ slug: "globex" })).drains, []);
    await refused(vercel.teams.createTeam({ slug: "globex", name: "Another" }), 409, "conflict", /globex/);
  });

  it("creates, shows, changes and deletes a drain", async () => {
    const drain = await create({ name: "Through the SDK", sampling: [], transforms: [] });
    const { id, createdAt } = drain;
    const want = {
      ...shown, id, name: "Through the SDK", createdAt, updatedAt: createdAt,
      // The SDK sends this one when it is not told any.
      delivery: { ...delivery, serverSideEncryption: "AES256" },
    };
    assert.deepEqual(drain, want);
    assert.deepEqual(await vercel.drains.getDrain({ teamId, id }), want);

    const change = async (requestBody) => {
      const drain = await vercel.drains.updateDrain({ teamId, id, requestBody });
      assert.ok(drain.updatedAt >= want.updatedAt);
      want.updatedAt = drain.updatedAt;
      return drain;
    };
    want.name = "Renamed";
    assert.deepEqual(await change({ name: "Renamed" }), want);
    want.delivery = { ...delivery, encoding: "json", serverSideEncryption: "aws:kms", objectAcl: "bucket-owner-full-control" };
    want.status = "disabled";
    want.disabledReason = "disabled-by-admin";
    const paused = await change({ delivery: want.delivery, status: "disabled" });
    want.disabledAt = paused.updatedAt;
    want.disabledBy = paused.disabledBy;
    assert.deepEqual(paused, want);
    assert.deepEqual((await vercel.drains.getDrains({ teamId })).drains, [demoDrain, want]);

    assert.equal(await vercel.drains.deleteDrain({ teamId, id }), undefined);
    await refused(vercel.drains.getDrain({ teamId, id }), 404, "not_found", new RegExp(id));
    await refused(vercel.drains.deleteDrain({ teamId, id }), 404, "not_found", new RegExp(id));
    assert.deepEqual((await vercel.drains.getDrains({ teamId })).drains, [demoDrain]);
  });

  it("refuses what audit logs do not have, and says so", async () => {
    const filter = { version: "v2", filter: { type: "basic", project: { ids: ["prj_1"] } } };
    const sampling = [{ type: "head_sampling", rate: 0.1 }];
    for (const [field, requestBody] of [
      ["filter", { filter }],
      ["sampling", { sampling }],
      ["transforms", { transforms: [{ id: "t" }] }],
      ["projectIds", { projects: "some", projectIds: ["prj_1"] }],
      ["schemas", { schemas: { log: { version: "v1" } } }],
      ["delivery.type", { delivery: { type: "http", endpoint: "https://example.com", encoding: "json", headers: {} } }],
      ["delivery.endpoint", { delivery: { ...delivery, endpoint: "s3://Acme_Audit" } }],
      ["delivery.roleArn", { delivery: { ...delivery, roleArn: "arn:aws:iam::1:role/x" } }],
      ["delivery.region", { delivery: { ...delivery, region: "mars-1" } }],
    ]) {
      const message = new RegExp(`^${field}: .*(not available|not allowed|not an IAM role ARN|not a region)`);
      const error = await refused(create({ name: "refused", ...requestBody }), 400, "bad_request", message);
      assert.equal(error.details[0].field, field);
    }
    for (const requestBody of [{ filter }, { sampling }, { status: "disabled", filter: "contains(x)" }]) {
      const update = vercel.drains.updateDrain({ teamId, id: demoDrain.id, requestBody });
      await refused(update, 400, "bad_request", /^(filter|sampling): .*not available for audit logs/);
    }
    // Refused is refused: nothing of it was done.
    assert.deepEqual((await vercel.drains.getDrains({ teamId })).drains, [demoDrain]);
  });

  it("lets each token do what its role may", async () => {
    await refused(client("ad_not_a_token_of_this_server").drains.getDrains({ teamId }), 401, "unauthorized", /token/);
    const { token } = await demo.call("POST", `/v1/tokens?teamId=${teamId}`, { name: "sdk", role: "viewer" });
    const viewer = client(token);
    assert.deepEqual((await viewer.drains.getDrains({})).drains, [demoDrain]); // the token names the team
    await refused(viewer.drains.deleteDrain({ id: demoDrain.id }), 403, "forbidden", /viewer/);
    await refused(viewer.drains.getDrains({ slug: "globex" }), 403, "forbidden", /team/);
  });

  it("tests deliveries, and passes on what AWS refused", async () => {
    const test = (change, team = { teamId }) =>
      vercel.drains.testDrain({ ...team, requestBody: { schemas, delivery: { ...delivery, ...change } } });

    assert.deepEqual(await test({}), {});
    assert.deepEqual(await test({ encoding: "json", serverSideEncryption: "aws:kms" }), {});

    for (const [change, as, operation, message] of [
      // The role may write below audit-logs/ only.
      [{ endpoint: `s3://${bucket}/elsewhere` }, { teamId }, "S3 did not let us write", /s3:PutObject.*no identity-based policy allows/],
      [{ roleArn: "arn:aws:iam::123456789012:role/other" }, { teamId }, "AWS STS did not let us assume the role", /sts:AssumeRole/],
      // Another team's external ID is not the one that the role requires.
      [{}, { slug: "globex" }, "AWS STS did not let us assume the role", /sts:AssumeRole/],
    ]) {
      const { status, error, endpoint, ...more } = await test(change, as);
      assert.deepEqual(more, {});
      assert.equal(status, "error");
      assert.equal(endpoint, change.endpoint ?? delivery.endpoint);
      assert.match(error, new RegExp(`^${operation}\\b.* AWS said: 403 AccessDenied `));
      assert.match(error, message);
      assert.match(error, /\(request id [^)]+\)/);
    }

    // What the SDK leaves out is there for those who look.
    const answer = await demo.call("POST", `/v1/drains/test?teamId=${teamId}`, { schemas, delivery: { ...delivery, endpoint: `s3://${bucket}/elsewhere` } });
    const { aws } = answer;
    assert.deepEqual([aws.service, aws.operation, aws.httpStatus, aws.code], ["s3", "PutObject", 403, "AccessDenied"]);
    assert.match(aws.body, /<Code>AccessDenied<\/Code>/);
    assert.ok(aws.body.includes(aws.requestId) && aws.body.includes(aws.extendedRequestId));
    assert.match(aws.key, /^elsewhere\/test\/schema=audit_log\/version=v1\/year=/);
    assert.match(aws.callerArn, /^arn:aws:sts::123456789012:assumed-role\/vercel-drain-writer\//);
    assert.deepEqual(await demo.call("POST", `/v1/drains/${demoDrain.id}/test`).then((r) => Object.keys(r).sort()), ["durationMs", "key", "roleCheck", "steps"]);
  });

  it("shows a drain that AWS refuses as errored", async () => {
    const { id } = await create({ name: "elsewhere", delivery: { ...delivery, endpoint: `s3://${bucket}/elsewhere` } });
    const drain = await eventually("errored", async () => {
      const drain = await vercel.drains.getDrain({ teamId, id });
      return drain.status === "errored" && drain;
    });
    assert.ok(Math.abs(Date.now() - drain.firstErrorTimestamp) < 60_000, `firstErrorTimestamp ${drain.firstErrorTimestamp}`);
    await vercel.drains.deleteDrain({ teamId, id });
  });

  it("delivers the events after a drain's creation, and pauses and resumes", async () => {
    const setStatus = (status) => vercel.drains.updateDrain({ teamId, id: demoDrain.id, requestBody: { status } });
    assert.equal((await setStatus("disabled")).status, "disabled");

    // It writes the same objects as the drain that is paused, so that the
    // demo's verdict stays exact.
    const { id, createdAt } = await create({ name: "in its place" });
    const since = new Date(createdAt).toISOString().replaceAll(/[-:]/g, "");
    await eventually("objects of events since the drain's creation", () => demo.objects().filter((name) => name > since).length >= 2);
    // What is shown lags a little behind what is in the bucket.
    const { failed } = await eventually("a count of them", async () => {
      const { metadata } = await demo.call("GET", `/v1/drains/${id}?includeMetadata=true`);
      return metadata.delivered >= 2 && metadata;
    });
    assert.equal(failed, 0);
    const idle = await demo.call("GET", `/v1/drains/${demoDrain.id}?includeMetadata=true`);
    assert.ok(idle.metadata.backlogEvents >= 2, JSON.stringify(idle.metadata));

    await vercel.drains.deleteDrain({ teamId, id });
    const resumed = await setStatus("enabled");
    assert.deepEqual(resumed, { ...demoDrain, updatedAt: resumed.updatedAt });
    await eventually("no backlog", async () => {
      const { metadata } = await demo.call("GET", `/v1/drains/${demoDrain.id}?includeMetadata=true`);
      return metadata.backlogEvents === 0;
    });
  });

  it("has written every acknowledged event, and ends in order", async () => {
    const { code, signal, output } = await demo.stop();
    assert.match(output, /^EQUAL: [1-9]\d* acknowledged events/m);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, output);
  });
});
