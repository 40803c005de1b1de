"""What Chroma's own client asks of a store, and what it got: one line each, the same direct and through the proxy."""
import json, sys
import chromadb
from chromadb.config import Settings

host, port, token = sys.argv[1].split(":")[0], int(sys.argv[1].split(":")[1]), sys.argv[2]
c = chromadb.HttpClient(host=host, port=port, headers={"x-chroma-token": token}, settings=Settings(anonymized_telemetry=False))


def say(what, x):
    print(what, json.dumps(x, sort_keys=True, default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v)), flush=True)


say("version", c.get_version())
col = c.create_collection("people", metadata={"hnsw:space": "cosine"}, embedding_function=None)
ids = [f"id{i:02}" for i in range(1, 31)]
col.add(ids=ids, embeddings=[[1, i / 10, 0.5, i % 3] for i in range(1, 31)], documents=[f"document {i} of p{i}@example.com" for i in range(1, 31)],
        metadatas=[{"n": i, "city": ["Porto", "Łódź", "東京"][i % 3], "email": f"p{i}@example.com"} for i in range(1, 31)])
say("count", col.count())
say("get", col.get(ids=["id03", "id04"], include=["metadatas", "documents", "embeddings"]))
say("get where", col.get(where={"$and": [{"city": "Porto"}, {"n": {"$lt": 10}}]}))
say("get all", len(col.get()["ids"]))
say("get page", col.get(limit=5, offset=10)["ids"])
say("query", col.query(query_embeddings=[[1, 0.3, 0.5, 1], [0, 0, 0, 1]], n_results=3))
say("query where", col.query(query_embeddings=[[1, 0.3, 0.5, 1]], n_results=3, where={"n": {"$gte": 10}}, where_document={"$contains": "document 1"}, include=["metadatas", "documents", "distances", "embeddings"]))
col.update(ids=["id01"], metadatas=[{"n": 1, "city": "Faro", "email": "new@example.com"}])
col.upsert(ids=["id31", "id02"], embeddings=[[1, 1, 1, 1], [0, 1, 0, 1]], documents=["new", "changed"], metadatas=[{"n": 31}, {"n": 2}])
say("after", col.get(ids=["id01", "id02", "id31"]))
col.delete(ids=["id31"])
col.delete(where={"n": {"$gt": 20}})
say("left", col.count())
col.modify(name="folk")
say("renamed", c.get_collection("folk").count())
say("again", c.get_or_create_collection("folk").name)
say("list", sorted(x.name for x in c.list_collections()))
c.delete_collection("folk")
say("gone", [x.name for x in c.list_collections()])
try:
    c.get_collection("folk")
except Exception as e:
    say("missing", type(e).__name__)
