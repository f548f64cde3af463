// Validates the CloudFormation templates of internal/setup's golden files with AWS's own validator, which has the schemas of
// all resource types and the linter's rules in it, and shows that it would find mistakes.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import validate from "@aws/cloudformation-validate";

const golden = join(import.meta.dirname, "../../internal/setup/testdata");

const choices = [
  {},
  { CreateBucket: "true" },
  { CreateBucket: "true", ObjectLock: "true", ObjectLockMode: "COMPLIANCE", BucketEncryption: "aws:kms" },
  { CreateBucket: "true", CreateKey: "true", KmsKeyArn: "", BucketEncryption: "aws:kms:dsse", ObjectLock: "true" },
];

// What the validator has to find, each as a mistake in a good template.
const mistakes = {
  "unknown resource type": ["AWS::KMS::Key", "AWS::KMS::Kee"],
  "unknown property": ["VersioningConfiguration:", "VersioningConfig:"],
  "value that is not allowed": ["ObjectOwnership: BucketOwnerEnforced", "ObjectOwnership: Nobody"],
  "wrong type": ["EnableKeyRotation: true", "EnableKeyRotation: [1]"],
  "missing property": ["      Bucket: !Ref Bucket\n", ""],
  "reference to nothing": ["!Ref RoleName", "!Ref RolName"],
  "attribute that is not there": ["- !GetAtt Bucket.Arn", "- !GetAtt Bucket.Arns"],
  "condition that is not there": ["Condition: MakesKey", "Condition: MakeKey"],
  "unknown section": ["Outputs:", "Outputz:"],
  "unknown parameter type": ["Type: Number", "Type: Numbr"],
  "circle": ["      Description: Writes audit log events into an S3 bucket, and can do nothing else", "      Description: !GetAtt Key.Arn"],
  "default that its pattern refuses": ['    Default: "/"', '    Default: "no slashes"'],
  "no YAML": ["Resources:", "Resources: ["],
};

describe("CloudFormation templates", () => {
  let engine, dir;
  before(() => {
    engine = new validate.CelEngine();
    dir = mkdtempSync(join(tmpdir(), "kit-"));
  });
  after(() => {
    engine?.free();
    rmSync(dir, { recursive: true, force: true });
  });

  /** What is wrong with the template in a file, from warnings on, or what kept it from being read. */
  function problems(file, parameterOverrides) {
    try {
      const { diagnostics } = engine.validateDetailed(new validate.TemplateFile(file), { parameterOverrides, severityLevel: "WARN" });
      return diagnostics.map((d) => `${d.severity} ${d.ruleId}: ${d.message}`);
    } catch (error) {
      return [String(error)];
    }
  }

  const kits = readdirSync(golden).filter((name) => name !== "fuzz"); // that one is the Go fuzzer's
  it("are there", () => assert.ok(kits.length >= 9, `only ${kits}`));

  for (const kit of kits) {
    it(`${kit} is valid`, () => {
      for (const parameters of choices) {
        assert.deepEqual(problems(join(golden, kit, "cloudformation.yaml"), parameters), [], JSON.stringify(parameters));
      }
    });
  }

  for (const [what, [good, bad]] of Object.entries(mistakes)) {
    it(`with a mistake would be found out: ${what}`, () => {
      const template = readFileSync(join(golden, "prefix", "cloudformation.yaml"), "utf8");
      assert.ok(template.includes(good), `no ${good}`);
      const file = join(dir, "mistaken.yaml");
      writeFileSync(file, template.replace(good, bad));
      assert.notDeepEqual(problems(file), []);
    });
  }
});
