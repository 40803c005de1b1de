package postgres

import (
	"errors"
	"sync"
	"sync/atomic"
)

// queue is the expectations in order, and the effects of answers that the
// goroutine that decides has not done yet. That goroutine alone pushes.
type queue struct {
	first   atomic.Pointer[expect] // the head of list
	failed  atomic.Bool            // an error came and the Sync that ends the pipeline has not been sent
	changes atomic.Int32           // outstanding statements that change how names resolve
	due     atomic.Bool            // there are effects to be done

	mu      sync.Mutex // held to change any of the above, and for all of the below
	list    []*expect
	after   []outcome
	freed   []*expect // to be used again
	changed *sync.Cond
	closed  bool
	room    [8]*expect // where a short list is

	// Of the goroutine that decides.
	blank *expect   // the next one
	spare []outcome // room for after
}

// Bounds of what a queue keeps to use it again.
const (
	maxFreed = 8
	maxSpare = 16
)

func newQueue() *queue {
	q := &queue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// expect is a new expectation.
func (q *queue) expect(kind expectKind) *expect {
	e := q.blank
	if q.blank = nil; e == nil {
		e = &expect{}
	}
	e.kind = kind
	return e
}

// push adds e unless the pipeline has failed, where the upstream would ignore
// the message. A Sync is always taken and ends the failure.
func (q *queue) push(e *expect) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed.Load() {
		if e.kind != expectSync {
			return false
		}
		q.failed.Store(false)
	}
	if q.list == nil && !q.closed {
		q.list = q.room[:0]
	}
	q.list = append(q.list, e)
	q.front()
	for _, t := range e.tickets {
		if e.kind != expectParse && t.Change() != nil {
			q.changes.Add(1)
		}
	}
	if n := len(q.freed); n > 0 && q.blank == nil {
		q.blank, q.freed = q.freed[n-1], q.freed[:n-1]
	}
	return true
}

// front is called after each change of the list.
func (q *queue) front() {
	var first *expect
	if len(q.list) > 0 {
		first = q.list[0]
	}
	if q.first.Load() != first {
		q.first.Store(first)
	}
}

// head is the expectation whose answer comes next, or nil.
func (q *queue) head() *expect { return q.first.Load() }

// pop removes the head, which has been answered in full and must not be used
// any more.
func (q *queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove()
}

// popWith is pop with what the answer means.
func (q *queue) popWith(o outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(o)
	q.remove()
}

func (q *queue) remove() {
	e := q.list[0]
	q.list[0] = nil
	if q.list = q.list[1:]; len(q.list) == 0 {
		q.list = nil
	}
	q.front()
	if *e = (expect{}); len(q.freed) < maxFreed {
		q.freed = append(q.freed, e)
	}
	q.changed.Broadcast()
}

// add has an effect done. The caller holds mu.
func (q *queue) add(o outcome) {
	q.after = append(q.after, o)
	q.due.Store(true)
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
			q.add(outcome{effect: head.undo})
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
			q.add(outcome{effect: skipped[i].failed})
		} else if skipped[i].undo != nil {
			q.add(outcome{effect: skipped[i].undo})
		}
	}
	q.failed.Store(n == len(q.list))
	q.list = append([]*expect(nil), q.list[n:]...)
	q.front()
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
	return q.failed.Load(), !q.closed
}

// later has an effect done by the goroutine that decides, before its next
// message; changed says that it settles a change that was counted.
func (q *queue) later(f effect, changed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(outcome{effect: f})
	if changed {
		q.changes.Add(-1)
	}
}

// catchUp does the effects that are due.
func (q *queue) catchUp(s *session) {
	if !q.due.Load() {
		return
	}
	q.mu.Lock()
	after := q.after
	q.after, q.spare = q.spare, nil
	q.due.Store(false)
	q.mu.Unlock()
	for _, o := range after {
		if o.effect == nil {
			s.transactionEnded(o.turn)
		} else {
			o.effect.do(s)
		}
	}
	if clear(after); cap(after) <= maxSpare {
		q.spare = after[:0]
	}
}

// drop takes out the newest expectation, whose message was not sent after all.
func (q *queue) drop(e *expect) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.list); n > 0 && q.list[n-1] == e {
		q.list[n-1] = nil
		q.list = q.list[:n-1]
		q.front()
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
	q.front()
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
	q.front()
	q.changed.Broadcast()
	return rest
}
