"""A stateful double of Qdrant's REST API: qdrant-client's own local mode behind the routes of its OpenAPI
description. It says on standard output where it listens, and ends with standard input."""
import json, re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, TypeAdapter
from qdrant_client import QdrantClient
from qdrant_client.http import models as m

KEY = sys.argv[1]
db = QdrantClient(":memory:")
aliases = {}
lock = threading.Lock()


class Refused(Exception):
    def __init__(self, status, text):
        self.status, self.text = status, text


def plain(x):
    if isinstance(x, BaseModel):
        return x.model_dump(mode="json", exclude_none=True) if not isinstance(x, (m.Record, m.ScoredPoint)) else point(x)
    if isinstance(x, (list, tuple)):
        return [plain(i) for i in x]
    return x


def point(p):
    out = {"id": p.id}
    if isinstance(p, m.ScoredPoint):
        out.update(version=p.version, score=p.score)
    for name in ("payload", "vector", "order_value"):
        v = getattr(p, name, None)
        if v is not None:
            out[name] = plain(v)
    return out


def parse(kind, body):
    return TypeAdapter(kind).validate_python(body)


def selector(b):
    if b.get("points") is not None:
        return m.PointIdsList(points=b["points"])
    return m.FilterSelector(filter=parse(m.Filter, b["filter"]))


def search(c, b):
    kinds = {"prefetch": m.Prefetch | list[m.Prefetch], "query": m.VectorInput | m.Query, "filter": m.Filter, "lookup_from": m.LookupLocation,
             "with_payload": m.WithPayloadInterface}
    args = {k: parse(kinds[k], v) if k in kinds else v for k, v in b.items() if v is not None and k not in ("with_vector", "shard_key", "params")}
    args["with_vectors"] = b.get("with_vector", False)
    args.setdefault("with_payload", False)
    args["query_filter"] = args.pop("filter", None)
    return c, args


def query(c, b):
    c, a = search(c, b)
    return {"points": plain(db.query_points(c, **a).points)}


def groups(c, b):
    c, a = search(c, b)
    if isinstance(a.get("with_lookup"), dict):
        a["with_lookup"] = m.WithLookup(**a["with_lookup"])
    got = db.query_points_groups(c, **a)
    out = []
    for g in got.groups:
        one = {"id": g.id, "hits": plain(g.hits)}
        if g.lookup:
            one["lookup"] = point(g.lookup)
        out.append(one)
    return {"groups": out}


def old_search(c, b):
    return query(c, {("query" if k == "vector" else "limit" if k == "top" else k): v for k, v in b.items()})["points"]


def scroll(c, b):
    order = b.get("order_by")
    points, offset = db.scroll(c, scroll_filter=parse(m.Filter, b["filter"]) if b.get("filter") else None, limit=b.get("limit", 10), offset=b.get("offset"),
                               order_by=parse(m.OrderByInterface, order) if order else None, with_payload=parse(m.WithPayloadInterface, b.get("with_payload", True)), with_vectors=b.get("with_vector", False))
    return {"points": plain(points), "next_page_offset": offset}


def get(c, b):
    return plain(db.retrieve(c, b["ids"], with_payload=parse(m.WithPayloadInterface, b.get("with_payload", True)), with_vectors=b.get("with_vector", False)))


def one(c, id):
    got = db.retrieve(c, [int(id) if id.isdigit() else id], with_payload=True, with_vectors=True)
    if not got:
        raise Refused(404, f"Not found: Point with id {id} does not exists!")
    return plain(got[0])


def facet(c, b):
    got = db.facet(c, key=b["key"], limit=b.get("limit", 10), facet_filter=parse(m.Filter, b["filter"]) if b.get("filter") else None, exact=b.get("exact", False))
    return {"hits": [{"value": h.value, "count": h.count} for h in got.hits]}


def write(c, kind, b):
    if kind == "upsert":
        if "batch" in b:
            db.upsert(c, m.Batch(**b["batch"]))
        else:
            db.upsert(c, [m.PointStruct(**p) for p in b["points"]])
    elif kind == "delete":
        db.delete(c, selector(b))
    elif kind == "set_payload":
        db.set_payload(c, b["payload"], selector(b), key=b.get("key"))
    elif kind == "overwrite_payload":
        db.overwrite_payload(c, b["payload"], selector(b))
    elif kind == "delete_payload":
        db.delete_payload(c, b["keys"], selector(b))
    elif kind == "clear_payload":
        db.clear_payload(c, selector(b))
    elif kind == "update_vectors":
        db.update_vectors(c, [m.PointVectors(**p) for p in b["points"]])
    elif kind == "delete_vectors":
        db.delete_vectors(c, b["vector"], selector(b))
    return {"operation_id": 1, "status": "completed"}


def alias(actions):
    for a in actions:
        (kind, v), = a.items()
        if kind == "create_alias":
            aliases[v["alias_name"]] = v["collection_name"]
        elif kind == "delete_alias":
            aliases.pop(v["alias_name"], None)
        else:
            aliases[v["new_alias_name"]] = aliases.pop(v["old_alias_name"])
    return True


def create(c, b):
    if db.collection_exists(c):
        raise Refused(409, f"Wrong input: Collection `{c}` already exists!")
    db.create_collection(c, vectors_config=parse(m.VectorsConfig, b["vectors"]) if b.get("vectors") else None, sparse_vectors_config=b.get("sparse_vectors"))
    return True


def drop(c, _):
    gone = db.collection_exists(c)
    db.delete_collection(c)
    for k in [k for k, v in aliases.items() if v == c]:
        del aliases[k]
    return gone


P = "points"
routes = {
    ("PUT", ""): create, ("PATCH", ""): lambda c, b: True, ("DELETE", ""): drop,
    ("PUT", "index"): lambda c, b: {"operation_id": 1, "status": "completed"},
    ("POST", P): get, ("POST", P + "/scroll"): scroll, ("POST", "facet"): facet,
    ("POST", P + "/count"): lambda c, b: {"count": db.count(c, parse(m.Filter, b["filter"]) if b.get("filter") else None).count},
    ("POST", P + "/query"): query, ("POST", P + "/query/batch"): lambda c, b: [query(c, s) for s in b["searches"]],
    ("POST", P + "/query/groups"): groups, ("POST", P + "/search"): old_search,
    ("POST", P + "/search/batch"): lambda c, b: [old_search(c, s) for s in b["searches"]],
    ("PUT", P): lambda c, b: write(c, "upsert", b), ("POST", P + "/delete"): lambda c, b: write(c, "delete", b),
    ("POST", P + "/payload"): lambda c, b: write(c, "set_payload", b), ("PUT", P + "/payload"): lambda c, b: write(c, "overwrite_payload", b),
    ("POST", P + "/payload/delete"): lambda c, b: write(c, "delete_payload", b), ("POST", P + "/payload/clear"): lambda c, b: write(c, "clear_payload", b),
    ("PUT", P + "/vectors"): lambda c, b: write(c, "update_vectors", b), ("POST", P + "/vectors/delete"): lambda c, b: write(c, "delete_vectors", b),
    ("POST", P + "/batch"): lambda c, b: [write(c, *next(iter(o.items()))) for o in b["operations"]],
}


def serve(method, path, body):
    parts = [unquote(p) for p in path.strip("/").split("/") if p]
    if parts == ["aliases"]:
        return {"aliases": [{"alias_name": a, "collection_name": c} for a, c in aliases.items()]}
    if parts == ["collections"]:
        return {"collections": [{"name": c.name} for c in db.get_collections().collections]}
    if parts == ["collections", "aliases"]:
        return alias(body["actions"])
    if not parts or parts[0] != "collections":
        raise Refused(404, "Not found")
    c, rest = aliases.get(parts[1], parts[1]), "/".join(parts[2:])
    if (method, rest) == ("GET", "exists"):
        return {"exists": db.collection_exists(c)}
    if (method, rest) not in (("PUT", ""), ("DELETE", "")) and not db.collection_exists(c):
        raise Refused(404, f"Not found: Collection `{c}` doesn't exist!")
    if (method, rest) == ("GET", ""):
        info = plain(db.get_collection(c))
        info["payload_schema"] = {"contact[].email": {"data_type": "keyword", "points": 3}, "email": {"data_type": "keyword", "points": 3}, "city": {"data_type": "keyword", "points": 3}}
        return info
    if (method, rest) == ("GET", "aliases"):
        return {"aliases": [{"alias_name": a, "collection_name": x} for a, x in aliases.items() if x == c]}
    if method == "GET" and rest.startswith("points/"):
        return one(c, rest[7:])
    if method == "DELETE" and rest.startswith("index/"):
        return {"operation_id": 1, "status": "completed"}
    if (method, rest) not in routes:
        raise Refused(404, "Not found")
    return routes[method, rest](c, body)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def any(self):
        began = time.perf_counter()
        n = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(n)
        url = urlsplit(self.path)
        status, kind = 200, "application/json"
        try:
            if url.path in ("/healthz", "/livez", "/readyz"):
                out, kind = b"healthz check passed", "text/plain"
            elif url.path == "/":
                out = json.dumps({"title": "qdrant - vector search engine", "version": "1.20.0"}).encode()
            else:
                if self.headers.get("api-key") != KEY:
                    raise Refused(401, "Must provide an API key or an Authorization bearer token")
                with lock:
                    result = serve(self.command, url.path, json.loads(raw) if raw else {})
                out = json.dumps({"result": result, "status": "ok", "time": time.perf_counter() - began}, ensure_ascii=False).encode()
        except Refused as e:
            status, out = e.status, json.dumps({"status": {"error": e.text}, "time": 0}).encode()
        except Exception as e:  # what the client's own code refuses
            status, out = 400, json.dumps({"status": {"error": f"Wrong input: {type(e).__name__} {e}"}, "time": 0}).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = any


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


s = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(s.server_address[1], flush=True)
sys.stdin.read()
