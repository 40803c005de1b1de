"""What Qdrant's own client asks of a store, and what it got: one line each, the same direct and through the proxy."""
import json, sys
from qdrant_client import QdrantClient, models as m

c = QdrantClient(url=sys.argv[1], api_key=sys.argv[2], timeout=30)


def say(what, x):
    if hasattr(x, "model_dump"):
        x = x.model_dump(mode="json")
    if isinstance(x, (list, tuple)):
        x = [i.model_dump(mode="json") if hasattr(i, "model_dump") else i for i in x]
    print(what, json.dumps(x, sort_keys=True, default=str), flush=True)


say("version", c.info().version)
say("create", c.create_collection("people", vectors_config=m.VectorParams(size=4, distance=m.Distance.COSINE)))
say("exists", c.collection_exists("people"))
points = [m.PointStruct(id=i, vector=[1, i / 10, 0.5, i % 3], payload={
    "n": i, "city": ["Porto", "Łódź", "東京"][i % 3], "email": f"p{i}@example.com", "contact": {"email": f"c{i}@example.com", "tags": ["a", f"t{i % 2}"]}}) for i in range(1, 31)]
say("upsert", c.upsert("people", points, wait=True).status)
say("index", c.create_payload_index("people", "city", m.PayloadSchemaType.KEYWORD).status)
say("count", c.count("people", exact=True))
say("count filtered", c.count("people", count_filter=m.Filter(must=[m.FieldCondition(key="city", match=m.MatchValue(value="Porto"))])))
say("query", c.query_points("people", query=[1, 0.3, 0.5, 1], limit=5, with_payload=True, with_vectors=True).points)
say("query id", c.query_points("people", query=7, limit=3, with_payload=["city", "contact.email"]).points)
say("query filtered", c.query_points("people", query=[1, 0.3, 0.5, 1], limit=5, query_filter=m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gte=10, lt=20))], must_not=[m.HasIdCondition(has_id=[11])])).points)
say("query batch", [r.points and [p.id for p in r.points] for r in c.query_batch_points("people", [m.QueryRequest(query=[1, 0, 0, 0], limit=2), m.QueryRequest(query=[0, 0, 0, 1], limit=2, with_payload=True)])])
say("prefetch", [p.id for p in c.query_points("people", prefetch=[m.Prefetch(query=[1, 0, 0, 0], limit=9), m.Prefetch(query=[0, 0, 0, 1], limit=9)], query=m.FusionQuery(fusion=m.Fusion.RRF), limit=4).points])
say("recommend", [p.id for p in c.query_points("people", query=m.RecommendQuery(recommend=m.RecommendInput(positive=[1, 2], negative=[3])), limit=4).points])
say("groups", [(g.id, [h.id for h in g.hits]) for g in c.query_points_groups("people", query=[1, 0.3, 0.5, 1], group_by="city", limit=3, group_size=2).groups])
page, offset = c.scroll("people", limit=7, with_vectors=True)
say("scroll", page)
say("offset", offset)
say("scroll on", [p.id for p in c.scroll("people", limit=100, offset=offset)[0]])
say("scroll ordered", [p.id for p in c.scroll("people", limit=5, order_by=m.OrderBy(key="n", direction=m.Direction.DESC))[0]])
say("retrieve", c.retrieve("people", [3, 4], with_vectors=True))
say("facet", c.facet("people", key="city").hits)
say("set payload", c.set_payload("people", {"seen": True}, points=[1, 2]).status)
say("overwrite", c.overwrite_payload("people", {"n": 99}, points=[5]).status)
say("delete payload", c.delete_payload("people", ["seen"], points=[2]).status)
say("after", c.retrieve("people", [1, 2, 5]))
say("batch", [r.status for r in c.batch_update_points("people", [m.UpsertOperation(upsert=m.PointsList(points=[m.PointStruct(id=50, vector=[1, 1, 1, 1], payload={"n": 50})])), m.DeleteOperation(delete=m.PointIdsList(points=[30]))])])
say("alias", c.update_collection_aliases([m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name="people", alias_name="folk"))]))
say("by alias", c.count("folk"))
say("aliases", c.get_aliases())
say("delete filtered", c.delete("people", points_selector=m.FilterSelector(filter=m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gt=20))]))).status)
say("left", c.count("folk"))
say("collections", sorted(x.name for x in c.get_collections().collections))
say("drop", c.delete_collection("people"))
say("exists", c.collection_exists("people"))
try:
    c.count("people")
except Exception as e:
    say("missing", getattr(e, "status_code", str(e)))
