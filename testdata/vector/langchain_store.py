"""What LangChain asks of a store (documents added, similar ones found, deleted), and what it got: one line each, the same
direct and through the proxy. Its embeddings are made up: the letters of a text."""
import json, sys
from langchain_core.embeddings import Embeddings

store, address, token = sys.argv[1:]


class Letters(Embeddings):
    def embed_query(self, text):
        return [1.0 + text.count(c) for c in "aeiou"]

    def embed_documents(self, texts):
        return [self.embed_query(t) for t in texts]


def say(what, x):
    print(what, json.dumps(x, sort_keys=True), flush=True)


if store == "qdrant":
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient, models as m

    client = QdrantClient(url="http://" + address, api_key=token)
    client.create_collection("docs", vectors_config=m.VectorParams(size=5, distance=m.Distance.COSINE))
    db = QdrantVectorStore(client, "docs", Letters())
    where = m.Filter(must=[m.FieldCondition(key="metadata.lang", match=m.MatchValue(value="pt"))])
    ids = list(range(1, 13))
else:
    import chromadb
    from chromadb.config import Settings
    from langchain_chroma import Chroma

    host, port = address.split(":")
    client = chromadb.HttpClient(host=host, port=int(port), headers={"x-chroma-token": token}, settings=Settings(anonymized_telemetry=False))
    db = Chroma("docs", Letters(), client=client)
    where = {"lang": "pt"}
    ids = [f"d{i}" for i in range(1, 13)]

texts = [f"{a} {b}" for a in ("ola", "eu", "casa") for b in ("azul", "verde", "branco", "uivo")]
say("add", db.add_texts(texts, metadatas=[{"lang": ["pt", "en"][i % 2], "email": f"p{i}@example.com"} for i in range(12)], ids=ids))
for what, found in {
    "similar": db.similarity_search_with_score("casa azul", k=3),
    "filtered": db.similarity_search_with_score("casa azul", k=3, filter=where),
}.items():
    say(what, [(d.page_content, d.metadata.get("lang"), d.metadata.get("email"), round(s, 4)) for d, s in found])
say("mmr", sorted(d.page_content for d in db.max_marginal_relevance_search("eu verde", k=2, fetch_k=6)))
say("by ids", sorted(d.page_content for d in db.get_by_ids(ids[:2])))
say("retriever", [d.page_content for d in db.as_retriever(search_kwargs={"k": 1}).invoke("ola uivo")])
db.delete(ids[:10])
say("left", sorted(d.page_content for d in db.similarity_search("a", k=20)))
client.delete_collection("docs")
say("end", True)
