// What Chroma's JavaScript client asks of a store, and what it got: one line each, the same direct and through the proxy.
import { createRequire } from "node:module";
const { ChromaClient } = createRequire(process.env.MODULES + "/")("chromadb");

const [address, token] = process.argv.slice(2);
const [host, port] = address.split(":");
const c = new ChromaClient({ host, port: Number(port), headers: { "x-chroma-token": token } });
const sorted = (x) => x && typeof x === "object" && !Array.isArray(x) ? Object.fromEntries(Object.keys(x).sort().map((k) => [k, sorted(x[k])])) : Array.isArray(x) ? x.map(sorted) : x;
const say = (what, x) => console.log(what, JSON.stringify(sorted(x)));

const col = await c.createCollection({ name: "notes", embeddingFunction: null });
const n = [...Array(20).keys()];
await col.add({
  ids: n.map((i) => "id" + (10 + i)), embeddings: n.map((i) => [1, i / 10, 0.5]), documents: n.map((i) => `note ${i} of p${i}@example.com`),
  metadatas: n.map((i) => ({ n: i, city: ["Porto", "Łódź", "東京"][i % 3], email: `p${i}@example.com` })),
});
say("count", await col.count());
say("get", await col.get({ ids: ["id12", "id13"], include: ["metadatas", "documents", "embeddings"] }));
say("page", (await col.get({ limit: 5, offset: 10 })).ids);
say("peek", (await col.peek({ limit: 2 })).ids);
say("where", (await col.get({ where: { $and: [{ city: "Porto" }, { n: { $lt: 10 } }] } })).ids);
say("query", await col.query({ queryEmbeddings: [[1, 0.3, 0.5]], nResults: 3, where: { n: { $gte: 2 } }, whereDocument: { $contains: "note 1" } }));
await col.update({ ids: ["id10"], metadatas: [{ n: 0, city: "Faro" }] });
await col.upsert({ ids: ["id99"], embeddings: [[1, 1, 1]], documents: ["new"], metadatas: [{ n: 99 }] });
say("after", await col.get({ ids: ["id10", "id99"] }));
await col.delete({ ids: ["id99"] });
await col.delete({ where: { n: { $gt: 9 } } });
say("left", await col.count());
await col.modify({ name: "memo" });
say("list", (await c.listCollections()).map((x) => x.name));
await c.deleteCollection({ name: "memo" });
try {
  await c.getCollection({ name: "memo" });
} catch (e) {
  say("missing", e.name);
}
