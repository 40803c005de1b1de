// Package protocols is the seam between wires and the engine. A protocol is a
// value with a Serve function; the engine hands it a client's connection and
// a Host, and the protocol asks the Host for everything that is not its
// wire's business: who is calling, whether a statement may pass, what must be
// masked, and the way to the upstream.
//
// No ticket, no bytes: the only way to the upstream is an Upstream, which
// takes statements with the Ticket that admission gave for them, and beside
// that a closed list of control messages.
package protocols

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// Protocol is one wire. It is registered by a line in cmd/sallyport.
type Protocol struct {
	Name        string // the policy's and config's word: postgres, mysql …
	Doc         string // one line for --help
	DefaultPort int    // of an upstream whose URL names none
	Dialect     string // of the statements; "" where the protocol brings facts itself
	// ALPN is what TLS with the upstream names as its protocol, "" for nothing.
	ALPN string
	// Requests says that a session is one identity's run of requests, over any
	// number of connections: Login joins the one that is open. The upstream's
	// URL then names no user and no database.
	Requests bool

	// Schemes of an upstream's URL; the first is the one that errors name.
	Schemes []string
	// TLSMode says in libpq's words (disable, prefer, require, verify-ca,
	// verify-full) what an upstream's URL asks of TLS. Nil where the scheme says
	// it: https is verify-full.
	TLSMode func(q url.Values) (string, error)

	// Serve speaks the protocol on conn until the session ends. It takes
	// conn over and closes it. A returned error is logged, never shown to
	// the client; a clean end returns nil.
	Serve func(ctx context.Context, conn net.Conn, host Host) error

	// Catalog opens a connection of the proxy's own, over which it reads the
	// database's schema. Nil where the store has none.
	Catalog func(ctx context.Context, up Upstream, cred Credential) (CatalogSource, error)
	// ServerCatalog says that Catalog reads the schema of the whole server,
	// whichever database the connection is in.
	ServerCatalog bool
	// CommitsDDL says that the store commits with each change of the schema.
	CommitsDDL bool
}

// CatalogSource reads one database's schema. It is used by one goroutine.
type CatalogSource interface {
	// Version changes whenever Load would return something else. It is cheap.
	Version(ctx context.Context) (string, error)
	// Load reads the whole schema. The result has not been indexed.
	Load(ctx context.Context) (*catalog.Catalog, error)
	Close() error
}

// Host is the engine as one listener's connections see it.
type Host interface {
	// TLS is what to offer clients: nil where the target has tls.mode
	// disable; required says that plaintext must be refused.
	TLS() (conf *tls.Config, required bool)
	// Limits bound what a client may make us hold.
	Limits() Limits
	// Verifier says how a name logs in. For an unknown name it is what an
	// identity of the kind that has no list of names would be asked for, or
	// a made-up verifier that no password fits, the same at each call.
	Verifier(ctx context.Context, name string) (Verifier, error)
	// Login establishes the session after the wire has verified or received
	// the credential: the one way in for every wire. The session ends by
	// itself (Session.Done) when the token or certificate does, and when the
	// identity is revoked. Its errors are a *Denial.
	Login(ctx context.Context, l Login) (Session, error)
	// Canceller maps cancel keys to sessions of the whole process.
	Canceller() Canceller
	// Server is the schema of the target's own database, the newest at hand:
	// where the server speaks first, a client is told the upstream's version
	// before anybody has logged in.
	Server(ctx context.Context) (*catalog.Catalog, error)
	// Wait is how long a held request blocks before it is told to come again.
	Wait() time.Duration
	// Timeout is how long the upstream may be silent within a request.
	Timeout() time.Duration
	// Draining is closed when no new request is taken: a connection that waits
	// for one ends.
	Draining() <-chan struct{}
	// Keep returns what the protocol keeps for the target, over all its
	// connections; the first call makes it.
	Keep(make func() any) any
}

// Limits are bytes and counts, each checked before it is believed.
type Limits struct {
	Statement int // bytes of one statement's text
	Message   int // bytes of one protocol message from a client
	Row       int // bytes of a row that has to be held for masking
	Depth     int // nesting and chained operators of a statement
}

// Verifier says how a name logs in: by a stored credential of a password where
// Iterations is above 0, by the connection's client certificate where
// Certificate is set, and else by a token, which is asked for as SASL
// OAUTHBEARER where Bearer is set and as the password otherwise.
type Verifier struct {
	// SCRAM-SHA-256 (RFC 5803)
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte

	Native      []byte // mysql_native_password: SHA1(SHA1(password))
	CachingSHA2 []byte // caching_sha2_password: SHA256(SHA256(password)), as the server's cache has it

	Certificate bool
	Bearer      *Bearer
}

// Bearer is what a client without a token is told of where to get one.
type Bearer struct {
	Discovery string // URL of the issuer's discovery document
	Scope     string // to ask for; may be ""
}

// Login is what a client said of itself.
type Login struct {
	User     string // "" on wires without user names: the token says it
	Database string // "" for the target's own
	Address  string // IP, without port
	// Method is how the wire established User: "scram", "mysql_native_password"
	// and "caching_sha2_password", where the wire has checked the proof against
	// Verifier; "failed", where the proof was wrong, so that it counts;
	// "certificate", where TLS has checked it and Login looks whose it is;
	// "token", where Secret is what the client sent, a token or a static
	// password, and Login checks it; "password", which is the same but that a
	// static password does not get in, on wires that could ask for a proof.
	Method  string
	Secret  string
	TLS     *tls.ConnectionState // nil on plaintext
	Options map[string]string    // the client's own start-up parameters, for the record
}

// Session is one client's session in the engine.
type Session interface {
	// ID is unique and unguessable, and safe to print.
	ID() string
	// Dial connects to the upstream, without logging in. The caller closes
	// the result.
	Dial(ctx context.Context) (Upstream, error)
	// Credential is what to log in upstream with. It must not reach the
	// client, a log or a record. refused says that the upstream refused the last
	// one: what is remembered of it is then read anew, some times a second at most.
	Credential(ctx context.Context, refused bool) (Credential, error)
	// Catalog returns the database's committed schema. With fresh it is read
	// anew if it has changed since; otherwise the newest one at hand is
	// returned at once.
	Catalog(ctx context.Context, fresh bool) (*catalog.Catalog, error)
	// Admit analyses, decides, holds and records the statements of one unit
	// and returns a ticket for each, or an error that is a *Denial or a
	// *facts.Problem, after which nothing of the unit may be forwarded. It
	// blocks while a statement is held.
	Admit(ctx context.Context, u Unit) ([]Ticket, error)
	// Flush hands what was recorded to the operating system. The wire calls
	// it before it writes to the client.
	Flush() error
	// Done is closed when the session must end (killed, drained, its
	// identity gone); Cause then says why.
	Done() <-chan struct{}
	Cause() *Denial
	// Close ends the session and seals its record; err is nil for a clean
	// end.
	Close(err error)
}

// UnitKind says how a unit reaches the upstream.
type UnitKind uint8

const (
	// Query is a text that is executed at once, with one or more statements.
	Query UnitKind = iota
	// Prepare parses a text for later: what lineage forbids is refused now,
	// rules are asked at Execute.
	Prepare
	// Execute runs a prepared text with parameters.
	Execute
	// Operation is a request whose facts the protocol brings itself.
	Operation
	// FunctionCall is PostgreSQL's fast path: Function with Params.
	FunctionCall
)

// Unit is what a client asks for in one go.
type Unit struct {
	Kind   UnitKind
	Text   string
	View   *catalog.View // SQL protocols: as of now
	Params []facts.Param // Execute
	// InTransaction says that a transaction block is open upstream.
	InTransaction bool
	// Pending says that what the session has run may not be committed yet,
	// outside a transaction block: a pipeline's implicit transaction is open.
	Pending bool
	Facts   *facts.Facts // Operation
	// Problem says why an operation was not understood: it is recorded and
	// returned.
	Problem *facts.Problem
	// Wait, if set, bounds how long Admit waits for people. The hold then stays,
	// whatever becomes of the client, and the same unit passes once it is
	// granted.
	Wait     time.Duration
	Function uint32 // FunctionCall: the function's OID
	// OnHold, if set, is told of a hold before Admit waits for it.
	OnHold func(Held)
	// Fresh, if set, reads the session's view again: what was held is decided
	// anew when the hold ends.
	Fresh func(ctx context.Context) (*catalog.View, error)
	// Plan, if set, asks the upstream's planner about a text with the unit's
	// parameters. It runs nothing. An error ends the unit; what the planner
	// cannot say is a plan that is not known.
	Plan func(ctx context.Context, text string) (facts.Plan, error)
}

// Held describes a statement that waits for people.
type Held struct {
	ID     string
	Reason string
	Page   string // where to look at it, "" without a console
	Until  time.Time
}

// Ticket lets one statement pass once. It is used by one goroutine at a time.
type Ticket interface {
	Facts() *facts.Facts
	Decision() *facts.Decision
	// Change is what success will do to the session's view; nil for nothing.
	Change() *catalog.Change
	// Bind checks a result's columns, as the upstream announces them, against
	// what was decided and returns a mask for each, nil for clear. An error
	// ends the statement. Bind also repeats the check that the schema is
	// still the one decided on. It may be called again for the same columns,
	// which must not be changed afterwards.
	Bind(columns []ResultColumn) ([]*mask.Mask, error)
	// Row counts a row of that many bytes before it is written to the client,
	// charges budgets, and says whether Keep wants its cells.
	Row(bytes int) (keep bool, err error)
	// Keep records the row just counted, as it is sent. Nil is NULL; the
	// bytes are copied.
	Keep(cells [][]byte) error
	// Done records how the statement ended. The ticket is spent.
	Done(o Outcome) error
}

// Documents is what the ticket of an Operation can do besides, found by
// assertion: its result is documents whose paths nobody knows before they are
// seen.
type Documents interface {
	// Path says what becomes of the value at a path of a collection's payload,
	// and of all beneath it. The caller may keep the answer for all tickets of
	// the same PathScope.
	Path(collection string, path []string) (PathMask, error)
	// PathScope is equal (==) for tickets that answer Path alike.
	PathScope() any
	// Bytes charges bytes of the result that are no row's, before they are
	// written.
	Bytes(n int) error
}

// PathMask is what becomes of a value in a document.
type PathMask struct {
	// Mask is nil where the value may leave as it is.
	Mask *mask.JSON
	// Below says that something beneath the value may have a mask.
	Below bool
}

// ResultColumn is a result column as the upstream announces it. Its origin is
// in Table and Column (PostgreSQL: table OID and attribute number), 0 for
// none, or by name in Origin and OriginColumn (MySQL), empty for none.
type ResultColumn struct {
	Name         string
	Table        uint32
	Column       int32
	Origin       facts.Name
	OriginColumn string
	Kind         facts.Kind
	Type         string
}

// Outcome is how a statement ended.
type Outcome struct {
	Tag  string // command tag of a success, as sent
	Code string // SQLSTATE or the dialect's code of a failure, "" for success
	// Message is the error's text as sent to the client.
	Message string
	// Lost says that the session ended before the statement did.
	Lost bool
	// Skipped says that the upstream did not run the statement: an earlier
	// one of the same text or pipeline failed.
	Skipped bool
}

// Upstream is a connection to the target's store. One goroutine reads; the
// bytes of one Send or Control stay together, whoever else writes. Written
// bytes leave at Flush or when the buffer is full.
type Upstream interface {
	// Send writes bytes of the statement that t admits. A ticket that is
	// spent, or of another session, is refused.
	Send(t Ticket, b []byte) error
	// Control writes a message of the closed list of kinds.
	Control(k Control, b []byte) error
	Flush() error
	Read(p []byte) (int, error)
	// StartTLS turns the connection into a TLS one, verified as the target's
	// configuration asks.
	StartTLS(ctx context.Context) error
	// TLS is the state of a TLS connection, or nil.
	TLS() *tls.ConnectionState
	// Interrupt makes blocked and later reads and writes fail at once.
	Interrupt()
	Close() error
}

// ErrSpent is wrapped by Send's refusal of a ticket whose statement has ended.
var ErrSpent = errors.New("a spent ticket")

// Control lists what may go upstream without a ticket.
type Control uint8

const (
	ControlStartup   Control = iota + 1 // start-up and TLS request
	ControlAuth                         // answers to authentication requests
	ControlSync                         // ends a pipeline
	ControlFlush                        // asks for pending answers
	ControlDescribe                     // of an admitted statement or portal
	ControlClose                        // of a statement or portal
	ControlCopyAbort                    // client's CopyFail, or the type of a message that ends COPY
	ControlTerminate
	ControlCancel
	ControlOwn    // a query of the closed list in docs/upstream.md
	ControlRefuse // a message that the upstream always refuses, in a refused statement's place
	ControlKeepalive
	ControlSession // MySQL's COM_SET_OPTION and COM_RESET_CONNECTION
)

// Credential is what the proxy logs in upstream with.
type Credential struct {
	User     string
	Password string
	Database string
	// TLSMode is libpq's sslmode: disable, prefer, require, verify-ca,
	// verify-full.
	TLSMode string
	Host    string // for channel binding and error texts
}

// Canceller maps the cancel keys that clients hold. Safe for concurrent use.
type Canceller interface {
	// Register makes key name a session; cancel is called for each request
	// that presents it, from another goroutine. The result forgets the key.
	Register(key string, cancel func()) (forget func())
	// Cancel passes a client's request on. It says whether the key is known.
	Cancel(key string) bool
}

// Denial is a refusal in neutral words; each wire writes it in its own form.
type Denial struct {
	Kind    DenialKind
	Message string // what was refused
	Detail  string // by which rule and why
	Hint    string // what to do
	At      int    // byte offset in the statement's text, -1 where unknown
	HoldID  string
	// RetryAfter is when to ask again, for DenyHeld.
	RetryAfter time.Duration
}

// DenialKind chooses the wire's error code.
type DenialKind uint8

const (
	DenyPolicy      DenialKind = iota // 42501
	DenyLogin                         // 28P01, 28000
	DenyDatabase                      // 3D000
	DenyUnavailable                   // the upstream or the proxy cannot serve: 08006, 57P03
	DenyRecord                        // cannot be recorded: 58030
	DenyLimit                         // too large, too complex: 54000, 54001
	DenyShutdown                      // 57P01
	DenyInternal                      // XX000
	DenySchema                        // the schema changed under the statement: 40001
	DenyUnsupported                   // 0A000
	DenyBudget                        // 53400
	DenyCancelled                     // 57014
	DenyTooMany                       // 53300
	DenyHeld                          // waits for people: ask again
)

func (d *Denial) Error() string { return d.Message }
