"""How the stores' own clients tell what a policy does: one line each. The hold's id stands on the last but one line; the same
call, made again once input has come, passes."""
import sys

store, address, token = sys.argv[1:]


def told(what, call):
    try:
        print(what, "passed", call(), flush=True)
    except Exception as e:
        print(what, type(e).__module__.split(".")[0], type(e).__name__, " ".join(str(e).split()), flush=True)


if store == "qdrant":
    from qdrant_client import QdrantClient, models as m

    c = QdrantClient(url="http://" + address, api_key=token, check_compatibility=False)
    drop = lambda: c.delete_collection("people")
    delete = lambda: c.delete("people", points_selector=m.FilterSelector(filter=m.Filter()))
    scroll = lambda: sorted(p.payload["email"] for p in c.scroll("people", limit=100)[0])
    search = lambda: [p.payload["email"] for p in c.query_points("people", query=[1, 0, 0], limit=2, with_payload=True).points]
else:
    import chromadb
    from chromadb.config import Settings

    host, port = address.split(":")
    c = chromadb.HttpClient(host=host, port=int(port), headers={"x-chroma-token": token}, settings=Settings(anonymized_telemetry=False))
    people, rest = c.get_collection("people", embedding_function=None), c.get_collection("open", embedding_function=None)
    drop = lambda: c.delete_collection("people")
    delete = lambda: rest.delete(where_document={"$regex": ".*"})
    scroll = lambda: sorted(m["email"] for m in people.get(limit=100)["metadatas"])
    search = lambda: [m["email"] for m in people.query(query_embeddings=[[1, 0, 0]], n_results=2)["metadatas"][0]]

told("search", search)
told("drop", drop)
told("delete", delete)
told("scroll", scroll)
sys.stdin.readline()
told("scroll", scroll)
