package vector

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func chromaAPI() *httpgate.API {
	return &httpgate.API{
		Name: "chroma", KeyHeaders: []string{"X-Chroma-Token"},
		Key:   func(h http.Header, key string) { h.Set("X-Chroma-Token", key); h.Set("Authorization", "Bearer "+key) },
		Route: newTable(chromaEndpoints).route,
		Fault: func(f *httpgate.Fault) []byte {
			b, err := json.Marshal(map[string]string{"error": chromaError(f), "message": f.Text()})
			if err != nil { // of strings: never fails
				panic(err)
			}
			return b
		},
	}
}

// chromaError is the name by which Chroma's clients know an error.
func chromaError(f *httpgate.Fault) string {
	switch f.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "AuthorizationError"
	case http.StatusNotFound:
		return "NotFoundError"
	case http.StatusTooManyRequests:
		return "RateLimitError"
	case http.StatusBadRequest:
		return "InvalidArgumentError"
	case http.StatusConflict:
		return "UniqueConstraintError"
	}
	return "InternalError"
}

const (
	chromaD = "/api/v2/tenants/{t}/databases/{d}"
	chromaC = chromaD + "/collections/{c}"
)

// chromaEndpoints is Chroma's table (GET /openapi.json of server 1.0.0 as
// chromadb 1.5 has it).
var chromaEndpoints = []endpoint{
	{"GET", "/api/v2", nil, chromaMeta("HEARTBEAT")},
	{"GET", "/api/v2/heartbeat", nil, chromaMeta("HEARTBEAT")},
	{"GET", "/api/v2/healthcheck", nil, chromaMeta("HEALTH")},
	{"GET", "/api/v2/version", nil, chromaMeta("VERSION")},
	{"GET", "/api/v2/pre-flight-checks", nil, chromaMeta("VERSION")},
	{"GET", "/api/v2/auth/identity", nil, chromaMeta("IDENTITY")},
	{"POST", "/api/v2/reset", nil, chromaReset},
	{"POST", "/api/v2/tenants", nil, chromaDDL("CREATE TENANT", "name")},
	{"GET", "/api/v2/tenants/{t}", nil, chromaMeta("DESCRIBE TENANT")},
	{"GET", "/api/v2/tenants/{t}/databases", []string{"limit", "offset"}, chromaMeta("LIST DATABASES")},
	{"POST", "/api/v2/tenants/{t}/databases", nil, chromaDDL("CREATE DATABASE", "name")},
	{"GET", chromaD, nil, chromaMeta("DESCRIBE DATABASE")},
	{"DELETE", chromaD, nil, chromaDropDatabase},
	{"GET", chromaD + "/collections", []string{"limit", "offset"}, chromaList},
	{"GET", chromaD + "/collections_count", nil, chromaMeta("LIST COLLECTIONS")},
	{"POST", chromaD + "/collections", nil, chromaCreate},
	{"GET", chromaD + "/collections/by-id/{c}", nil, chromaByID},
	{"GET", chromaC, nil, chromaByName},
	{"PUT", chromaC, nil, chromaAlter},
	{"DELETE", chromaC, nil, chromaDrop},
	{"POST", chromaC + "/query", []string{"limit", "offset"}, chromaQuery},
	{"POST", chromaC + "/get", nil, chromaGet},
	{"GET", chromaC + "/count", []string{"read_level"}, chromaCount("COUNT")},
	{"GET", chromaC + "/indexing_status", nil, chromaCount("DESCRIBE COLLECTION")},
	{"POST", chromaC + "/add", nil, chromaWrite("ADD", facts.Insert)},
	{"POST", chromaC + "/upsert", nil, chromaWrite("UPSERT", facts.Insert, facts.Update)},
	{"POST", chromaC + "/update", nil, chromaWrite("UPDATE", facts.Update)},
	{"POST", chromaC + "/delete", nil, chromaDelete},
}

// The reserved paths of what stands beside a record's metadata.
const (
	chromaDocument = "#document"
	chromaURI      = "#uri"
)

func chromaMeta(verb string) func(o *operation) error {
	return func(o *operation) error {
		e := o.effect(facts.Read, verb)
		e.Limited, e.Limit = true, 0
		o.shape = passed
		return o.noBody()
	}
}

// chromaList has the collections that scopes let be reached; a page may so be
// shorter than its limit.
func chromaList(o *operation) error {
	err := chromaMeta("LIST COLLECTIONS")(o)
	o.shape = collections("name", o.chromaName(""))
	return err
}

func chromaDDL(verb string, members ...string) func(o *operation) error {
	return func(o *operation) error {
		o.effect(facts.DDL, verb)
		o.shape = passed
		return o.readJSON(members...)
	}
}

// everything adds all the collections of a database ("*" is one that no scope
// lists but by the same word) to what is dropped.
func (o *operation) everything(verb string, database string) {
	e := o.effect(facts.DDL, verb, facts.Name{Schema: database, Name: "*"})
	e.Destructive = true
	if database != "" {
		e.Objects = append(e.Objects, facts.Object{Kind: "database", Name: facts.Name{Name: database}})
	}
	o.shape, o.done = passed, o.ids().forget
}

func chromaReset(o *operation) error {
	o.everything("RESET", "")
	return o.readJSON()
}

func chromaDropDatabase(o *operation) error {
	o.everything("DROP DATABASE", o.path[5])
	return o.noBody()
}

// chromaName is a collection of the path's tenant and database.
func (o *operation) chromaName(name string) facts.Name {
	n := facts.Name{Database: o.path[3], Schema: o.path[5], Name: name}
	if n.Database == "default_tenant" {
		n.Database = ""
	}
	return n
}

func chromaCreate(o *operation) error {
	if err := o.readJSON("name", "configuration", "metadata", "get_or_create", "schema"); err != nil {
		return err
	}
	name := o.body.Get("name")
	if name.Kind != '"' {
		return refuse("a collection needs a name")
	}
	o.effect(facts.DDL, "CREATE COLLECTION", o.chromaName(name.Text))
	o.shape = passed
	return nil
}

func chromaByName(o *operation) error {
	e := o.effect(facts.Read, "DESCRIBE COLLECTION", o.chromaName(o.path[7]))
	e.Limited, e.Limit = true, 1
	o.shape = passed
	return o.noBody()
}

func chromaByID(o *operation) error {
	name, err := o.chromaID(8)
	if err != nil {
		return err
	}
	e := o.effect(facts.Read, "DESCRIBE COLLECTION", name)
	e.Limited, e.Limit = true, 1
	o.shape = passed
	return o.noBody()
}

// chromaAlter may rename: what was classed under the old name must be under
// the new one.
func chromaAlter(o *operation) error {
	if err := o.readJSON("new_name", "new_metadata", "new_configuration"); err != nil {
		return err
	}
	name, err := o.chromaID(7)
	if err != nil {
		return err
	}
	o.shape, o.done = passed, o.ids().forget
	verb := "ALTER COLLECTION"
	if to := o.body.Get("new_name"); !to.Null() {
		if to.Kind != '"' {
			return refuse("new_name must be a string")
		}
		verb = "RENAME COLLECTION"
		from := o.column(o.table(name), facts.PathAll)
		into := o.column(o.table(o.chromaName(to.Text)), facts.PathAll)
		o.f.Uses = append(o.f.Uses, facts.Use{Kind: facts.UseWrite, Columns: []facts.ColumnRef{from}, Into: &into, What: "renaming the collection", At: -1})
		o.effect(facts.DDL, verb, name, o.chromaName(to.Text))
		return nil
	}
	o.effect(facts.DDL, verb, name)
	return nil
}

func chromaDrop(o *operation) error {
	e := o.effect(facts.DDL, "DROP COLLECTION", o.chromaName(o.path[7])) // by its name, not its ID
	e.Destructive = true
	o.shape, o.done = passed, o.ids().forget
	return o.noBody()
}

// ids are the names of a target's collections by their IDs, asked again when
// they are older than a second.
type ids struct {
	mu    sync.Mutex
	names map[string]idName
	epoch int // grows when all is forgotten
}

type idName struct {
	tenant, database, name string
	read                   time.Time
}

// maxIDs bounds what is remembered.
const maxIDs = 10_000

func (i *ids) forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.names = nil
	i.epoch++
}

func (o *operation) ids() *ids { return o.r.Keep(func() any { return &ids{} }).(*ids) }

// chromaID is the collection whose ID stands at that place of the path. The
// store looks at the ID alone; here it must be of the path's tenant and
// database.
func (o *operation) chromaID(at int) (facts.Name, error) {
	id, ok := canonicalUUID(o.path[at])
	if !ok {
		return facts.Name{}, refuse("a collection's ID must be a UUID in its usual form")
	}
	o.path[at] = id
	i := o.ids()
	i.mu.Lock()
	known, ok := i.names[id]
	epoch := i.epoch
	i.mu.Unlock()
	if !ok || time.Since(known.read) > namesAge {
		var answer struct{ ID, Name, Tenant, Database string }
		known.read = time.Now()
		err := o.ask(&answer, "api", "v2", "tenants", o.path[3], "databases", o.path[5], "collections", "by-id", id)
		if err != nil {
			return facts.Name{}, o.noCollection(err)
		}
		known.tenant, known.database, known.name = answer.Tenant, answer.Database, answer.Name
		if answer.ID != id || answer.Name == "" {
			return facts.Name{}, o.noCollection(nil)
		}
		i.mu.Lock()
		if i.epoch == epoch {
			if i.names == nil || len(i.names) > maxIDs {
				i.names = map[string]idName{}
			}
			i.names[id] = known
		}
		i.mu.Unlock()
	}
	if known.tenant != o.path[3] || known.database != o.path[5] {
		return facts.Name{}, o.noCollection(nil)
	}
	return o.chromaName(known.name), nil
}

func (o *operation) noCollection(err error) error {
	if _, denied := err.(*protocols.Denial); err != nil && !denied { //nolint:errorlint // as ask returns it
		return err
	}
	return httpgate.Problem(http.StatusNotFound, "there is no such collection in this tenant and database", "")
}

// canonicalUUID is the usual form (RFC 9562 §4), in lower case.
func canonicalUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	b := []byte(s)
	for i, c := range b {
		switch dash := i == 8 || i == 13 || i == 18 || i == 23; {
		case dash && c == '-':
		case dash:
			return "", false
		case c >= 'A' && c <= 'F':
			b[i] = c | 0x20
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		default:
			return "", false
		}
	}
	return string(b), true
}
