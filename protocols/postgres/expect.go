package postgres

import "github.com/sallyport-proxy/sallyport/protocols"

// expectKind says what a forwarded message will be answered with.
type expectKind uint8

const (
	expectParse    expectKind = iota // ParseComplete
	expectBind                       // BindComplete
	expectDescribe                   // [ParameterDescription] RowDescription or NoData
	expectExecute                    // rows, CommandComplete, PortalSuspended or EmptyQueryResponse
	expectClose                      // CloseComplete
	expectSync                       // ReadyForQuery
	expectQuery                      // everything of a simple query, with its ReadyForQuery
	expectCall                       // FunctionCallResponse and ReadyForQuery
	expectOwn                        // the answers of a query of ours
)

// expect is one forwarded message whose answer is still to come. It is made by
// queue.expect and is the queue's again once it was popped.
type expect struct {
	kind    expectKind
	tickets []protocols.Ticket // of a query, in order; one for parse and execute
	at      int                // the ticket whose result is coming
	stmt    *statement
	portal  *portal
	swallow bool // the client did not ask: it sees nothing of the answer
	// refused takes the place of the upstream's error for a message that was
	// sent to be refused.
	refused *wireError
	own     *ownQuery
	// undo takes back what was assumed of the session when the message was
	// forwarded; done if it fails or is skipped.
	undo effect
	// failed, if set, is done in undo's place if it is this message that fails.
	failed effect
	turn   int // of a Sync: which portals may end with it
}

// effect is what an answer means for the state of the session. The goroutine
// that decides does it, which alone has that state.
type effect interface{ do(s *session) }

// effectFunc is an effect that comes seldom enough to be a closure.
type effectFunc func()

func (f effectFunc) do(*session) { f() }

// noEffect is one in whose place nothing is done.
type noEffect struct{}

func (noEffect) do(*session) {}

// outcome is an effect that is to be done; where there is none, the transaction
// has ended with the Sync of that turn.
type outcome struct {
	effect effect
	turn   int
}
