package postgres

import (
	"errors"
	"sync"

	"github.com/sallyport-proxy/sallyport/protocols"
)

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

// expect is one forwarded message whose answer is still to come.
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
	// forwarded; run if it fails or is skipped.
	undo func()
	// failed, if set, runs in undo's place if it is this message that fails.
	failed func()
	turn   int // of a Sync: which portals may end with it
}

// queue is the expectations in order. What answers mean for the state of the
// session is queued too, and done by the goroutine that decides, which alone
// has that state.
type queue struct {
	mu      sync.Mutex
	list    []*expect
	after   []func()
	changes int  // outstanding statements that change how names resolve
	failed  bool // an error came and the Sync that ends the pipeline has not been sent
	changed *sync.Cond
	closed  bool
}

func newQueue() *queue {
	q := &queue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// push adds e unless the pipeline has failed, where the upstream would ignore
// the message. A Sync is always taken and ends the failure.
func (q *queue) push(e *expect) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed {
		if e.kind != expectSync {
			return false
		}
		q.failed = false
	}
	q.list = append(q.list, e)
	for _, t := range e.tickets {
		if e.kind != expectParse && t.Change() != nil {
			q.changes++
		}
	}
	return true
}

// head is the expectation whose answer comes next, or nil.
func (q *queue) head() *expect {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return nil
	}
	return q.list[0]
}

// pop removes the head, which has been answered in full.
func (q *queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.popLocked()
}

func (q *queue) popLocked() {
	q.list[0] = nil
	q.list = q.list[1:]
	if len(q.list) == 0 {
		q.list = nil
	}
	q.changed.Broadcast()
}

var errSkipped = errors.New("the pipeline failed before it")

// fail takes the head, which got an error, and all up to the next Sync out of
// the queue, has what they assumed undone in reverse order, and returns them. In
// a simple query or a call ReadyForQuery follows the error without a Sync, so
// only the head's own assumptions go and the head stays for it.
func (q *queue) fail() (skipped []*expect) {
	q.mu.Lock()
	defer q.mu.Unlock()
	head := q.list[0]
	if head.kind == expectQuery || head.kind == expectCall {
		if head.undo != nil {
			q.after = append(q.after, head.undo)
			head.undo = nil
		}
		return nil
	}
	n := 0
	for n < len(q.list) && q.list[n].kind != expectSync {
		n++
	}
	skipped = append(skipped, q.list[:n]...)
	for i := n - 1; i >= 0; i-- {
		if own := skipped[i].own; own != nil { // before whoever waits for it can look
			own.fail(errSkipped)
		}
		if i == 0 && skipped[i].failed != nil {
			q.after = append(q.after, skipped[i].failed)
		} else if skipped[i].undo != nil {
			q.after = append(q.after, skipped[i].undo)
		}
	}
	q.failed = n == len(q.list)
	q.list = append([]*expect(nil), q.list[n:]...)
	q.changed.Broadcast()
	return skipped
}

// drain waits until nothing is outstanding. It says whether the pipeline has
// failed, and ok is false where the session has ended instead.
func (q *queue) drain() (failed, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) > 0 && !q.closed {
		q.changed.Wait()
	}
	return q.failed, !q.closed
}

// later has f done by the goroutine that decides, before its next message;
// changed says that it settles a change that was counted.
func (q *queue) later(f func(), changed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.after = append(q.after, f)
	if changed {
		q.changes--
	}
}

// catchUp does what was left for later.
func (q *queue) catchUp() {
	q.mu.Lock()
	after := q.after
	q.after = nil
	q.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// drop takes out the newest expectation, whose message was not sent after all.
func (q *queue) drop(e *expect) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.list); n > 0 && q.list[n-1] == e {
		q.list[n-1] = nil
		q.list = q.list[:n-1]
		q.changed.Broadcast()
	}
}

// advance goes on to the next ticket of e.
func (q *queue) advance(e *expect) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.at++
	q.changed.Broadcast()
}

// wake makes who waits look again.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// awaitCopy waits until asked holds, or no COPY FROM is outstanding, and says
// whether one is.
func (q *queue) awaitCopy(asked func() bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.copiesIn() && !asked() && !q.closed {
		q.changed.Wait()
	}
	return q.copiesIn()
}

func (q *queue) copiesIn() bool {
	for _, e := range q.list {
		if e.kind != expectQuery && e.kind != expectExecute {
			continue
		}
		for _, t := range e.tickets[min(e.at, len(e.tickets)):] {
			if c := t.Facts().Copy; c != nil && c.In {
				return true
			}
		}
	}
	return false
}

// dropSyncs takes out the Syncs that the upstream will not answer.
func (q *queue) dropSyncs() {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.list[:0]
	for _, e := range q.list {
		if e.kind != expectSync {
			kept = append(kept, e)
		}
	}
	clear(q.list[len(kept):])
	q.list = kept
}

// end wakes who waits: the upstream answers no more.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// close wakes who waits, for the end of the session, and returns what was
// outstanding.
func (q *queue) close() []*expect {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	rest := q.list
	q.list = nil
	q.changed.Broadcast()
	return rest
}
