// Package httpgate is what all stores over HTTP have in common: it takes a
// client's connection, makes one canonical request of whatever form came,
// finds out who is calling, has the request admitted, forwards exactly what
// was decided on with the backend's key in the caller's place, and writes the
// answer as its API rewrites it.
//
//	client              gate                        upstream
//	  │ request ────────► │ canonical form              │
//	  │                   │ Host.Login(token)           │
//	  │                   │ API.Route → Operation       │
//	  │                   │ Session.Admit → Ticket      │
//	  │                   │ Send(ticket, request) ────► │
//	  │                   │ ◄──────────── head and body │
//	  │ ◄──── as Operation.Answer rewrites it           │
//
// What is refused, whatever the policy says: a path, query, body or header
// whose meaning two readers could see differently (path.go, body.go), and any
// route that the API does not know.
//
// HTTP/1.1 (RFC 9112) on both sides, read by this package itself: of a
// connection's bytes it takes what has one reading, and refuses the rest with
// an answer that ends the connection (head.go, fields.go, source.go). What is
// taken net/http takes for the same, which a fuzz target holds. A client's
// connection has one goroutine for its requests, one that watches for what
// ends them (watch.go), and one connection to the upstream, used by one request
// at a time.
package httpgate
