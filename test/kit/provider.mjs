// Writes testdata/aws-provider-VERSION.json: of each resource type that the Terraform module uses, the arguments that the
// AWS provider takes and the attributes that it gives. They come from the provider's own schema, by way of the classes that
// are generated from it. That package is 400 MB, so this is run by hand, when the module uses another type:
//
//	npm pack @cdktf/provider-aws@21.22.1 && tar xzf cdktf-provider-aws-*.tgz && node provider.mjs package >testdata/…

import { readFileSync } from "node:fs";
import { join } from "node:path";

const types = [
  "aws_iam_role",
  "aws_iam_role_policy",
  "aws_kms_key",
  "aws_s3_bucket",
  "aws_s3_bucket_public_access_block",
  "aws_s3_bucket_ownership_controls",
  "aws_s3_bucket_versioning",
  "aws_s3_bucket_server_side_encryption_configuration",
  "aws_s3_bucket_object_lock_configuration",
  "aws_s3_bucket_policy",
  "data.aws_caller_identity",
  "data.aws_partition",
];

const lines = types.map((type) => {
  const folder = type.replace("data.", "data_").replace(/^aws_/, "").replaceAll("_", "-");
  const text = readFileSync(join(process.argv[2], "lib", folder, "index.d.ts"), "utf8");

  // Each block is an interface. Its fields' comments have their names as Terraform knows them.
  const interfaces = {};
  for (const [, name, body] of text.matchAll(/export interface (\w+)[^{]*\{([\s\S]*?)\n\}/g)) {
    interfaces[name] = [...body.matchAll(/\/\*\*([\s\S]*?)\*\/\s*readonly \w+(\??): ([^;]+);/g)].map(([, comment, optional, type]) => ({
      name: comment.match(/#(\w+) /)[1],
      block: / block\b/.test(comment),
      required: optional === "",
      type,
    }));
  }
  const describe = (fields) =>
    Object.fromEntries(
      fields.map((f) => {
        const block = f.block && interfaces[f.type.match(/\w+/)[0]];
        const type = f.type.includes("[key: string]") ? "map" : f.type.replace(/ ?\| cdktf\.IResolvable/g, "").trim();
        return [f.name, { ...(f.block ? { block: describe(block || []) } : { type }), ...(f.required && { required: true }) }];
      }),
    );
  const config = text.match(/constructor\(scope: Construct, id: string, config\??: (\w+)\)/)[1];
  const attributes = [...text.split("static readonly tfResourceType")[1].matchAll(/get (\w+)\(\): /g)]
    .map(([, name]) => name)
    .filter((name) => !name.endsWith("Input"))
    .map((name) => name.replace(/[A-Z]/g, (c) => "_" + c.toLowerCase()));
  return `${JSON.stringify(type)}: ${JSON.stringify({ arguments: describe(interfaces[config]), attributes })}`;
});
console.log(`{\n${lines.join(",\n")}\n}`);
