// Lets Node read dt-sql-parser, which is written for bundlers: its imports leave out "/index.js" and ".js".
import { register } from "node:module";

const hooks = `
export async function resolve(specifier, context, next) {
  if (!context.parentURL?.includes("/node_modules/") || !specifier.startsWith(".")) return next(specifier, context);
  for (const ending of ["", ".js", "/index.js"]) {
    try { return await next(specifier + ending, context); } catch (error) { var last = error; }
  }
  throw last;
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
