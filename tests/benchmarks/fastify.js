// The same request in Fastify: verify the token with fast-jwt, load the user from better-sqlite3,
// answer JSON; and 401 to a refused token. It prints its credentials and its address.
const path = require("path");
const { mkdtempSync } = require("fs");
const { tmpdir } = require("os");
const Database = require("better-sqlite3");
const { createSigner, createVerifier } = require("fast-jwt");

const key = "a secret of the benchmark, of 32 bytes and more";
const verify = createVerifier({ key, algorithms: ["HS256"] });
const token = createSigner({ key, algorithm: "HS256", expiresIn: 36_000_000 })({ id: 1 });

const database = new Database(path.join(mkdtempSync(path.join(tmpdir(), "peer")), "peer.db"));
database.exec("CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT)");
database.exec("INSERT INTO users VALUES (1, 'miguel')");
const find = database.prepare("SELECT username FROM users WHERE id = ?");

const app = require("fastify")();
app.get("/api/resource", (request, reply) => {
  let claims;
  try {
    claims = verify((request.headers.authorization ?? "").slice("Bearer ".length));
  } catch {
    return reply.code(401).send({ error: "Unauthorized" });
  }
  return reply.send({ data: `Hello, ${find.get(claims.id).username}!` });
});
app.listen({ port: 0, host: "127.0.0.1" }).then((address) => {
  const start = token.lastIndexOf(".") + 1;
  const forged = token.slice(0, start) + (token[start] === "A" ? "B" : "A") + token.slice(start + 1);
  console.log(JSON.stringify({ token: `Bearer ${token}`, refused: `Bearer ${forged}` }));
  console.log(address);
});
