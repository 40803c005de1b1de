// What Qdrant's JavaScript client asks of a store, and what it got: one line each, the same direct and through the proxy.
import { createRequire } from "node:module";
const { QdrantClient } = createRequire(process.env.MODULES + "/")("@qdrant/js-client-rest");

const [url, apiKey] = process.argv.slice(2);
const c = new QdrantClient({ url, apiKey, checkCompatibility: false });
const say = (what, x) => console.log(what, JSON.stringify(x));

say("create", await c.createCollection("notes", { vectors: { size: 3, distance: "Cosine" } }));
const points = [...Array(20).keys()].map((i) => ({
  id: i + 1, vector: [1, i / 10, 0.5], payload: { n: i, city: ["Porto", "Łódź", "東京"][i % 3], contact: { email: `p${i}@example.com` } },
}));
say("upsert", (await c.upsert("notes", { wait: true, points })).status);
say("index", (await c.createPayloadIndex("notes", { field_name: "city", field_schema: "keyword", wait: true })).status);
say("query", await c.query("notes", { query: [1, 0.3, 0.5], limit: 3, with_payload: true, with_vector: true }));
say("search", await c.search("notes", { vector: [1, 0.3, 0.5], limit: 3, filter: { must: [{ key: "city", match: { value: "Porto" } }] } }));
say("groups", await c.queryGroups("notes", { query: [1, 0, 0], group_by: "city", limit: 2, group_size: 2 }));
let offset, pages = [];
do {
  const page = await c.scroll("notes", { limit: 8, offset, with_payload: ["contact.email"] });
  pages.push(page.points);
  offset = page.next_page_offset;
} while (offset);
say("scroll", pages);
say("count", await c.count("notes", { exact: true }));
say("retrieve", await c.retrieve("notes", { ids: [3, 4], with_payload: true }));
say("payload", (await c.setPayload("notes", { payload: { seen: true }, points: [1] })).status);
say("delete", (await c.delete("notes", { wait: true, filter: { must: [{ key: "n", range: { gte: 10 } }] } })).status);
say("left", (await c.count("notes")).count);
say("alias", await c.updateCollectionAliases({ actions: [{ create_alias: { collection_name: "notes", alias_name: "memo" } }] }));
say("by alias", (await c.getCollection("memo")).points_count);
say("drop", await c.deleteCollection("notes"));
say("exists", await c.collectionExists("notes"));
try {
  await c.scroll("notes", {});
} catch (e) {
  say("missing", e.status);
}
