// Package approval keeps holds and grants: statements that wait for people,
// and the people's answers. All of it lives in the state store, so that a
// command, the console or another replica can answer what this process holds.
//
// A hold ends granted, denied, expired or cancelled, once. A grant is bound to
// what was asked (Binding) and is used as often as the approver said, once
// unless said otherwise. Nobody grants their own.
//
// A Book is safe for concurrent use.
package approval

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// State of a hold.
type State string

const (
	Waiting   State = "waiting"
	Granted   State = "granted"
	Denied    State = "denied"
	Expired   State = "expired"
	Cancelled State = "cancelled"
)

// Errors that say why an answer was not taken.
var (
	ErrUnknown     = errors.New("there is no such hold")
	ErrEnded       = errors.New("the hold has ended")
	ErrOwn         = errors.New("nobody can grant their own statement")
	ErrNotApprover = errors.New("not one of the approvers that the rule names")
	ErrTwice       = errors.New("this approver has answered already")
	ErrTooMany     = errors.New("too many statements of this identity wait already")
)

// maxWaiting bounds how many statements of one identity wait at once.
const maxWaiting = 100

// Request is a statement that must wait. Text and Params are as people may
// see them: constants of classed columns are hidden.
type Request struct {
	Session  string   `json:"session"`
	Identity string   `json:"identity"`
	Groups   []string `json:"groups,omitempty"`
	Target   string   `json:"target"`
	Database string   `json:"database"`
	Text     string   `json:"text"`
	Params   []string `json:"params,omitempty"`
	Rules    []string `json:"rules"`
	Reason   string   `json:"reason,omitempty"`
	// Plan is what the planner expects, where it was asked.
	Plan *facts.Plan `json:"plan,omitempty"`
	// Needs must all be met; the shortest time of theirs is the hold's.
	Needs   []facts.Need `json:"needs"`
	Binding Binding      `json:"-"`
}

// within is how long the hold waits.
func (r *Request) within() time.Duration {
	least := time.Duration(0)
	for _, n := range r.Needs {
		if least == 0 || n.Within < least {
			least = n.Within
		}
	}
	return orDefault(least, 10*time.Minute)
}

// Binding is what a grant is good for, and nothing else.
type Binding struct {
	Identity, Target, Database, Role, SearchPath, Text, Params string
	// Facts stands for what the statement was understood as, Needs for what
	// the policy asked: a grant under other terms is no grant.
	Facts, Needs string
}

// Hash identifies the binding.
func (b Binding) Hash() string {
	j, err := json.Marshal(b) // an object of strings: unambiguous
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(j)
	return hex.EncodeToString(sum[:])
}

// Approver is a person who answers. ID is what counts once: an admin token is
// one approver whatever name is given with it.
type Approver struct {
	ID     string
	Name   string // whose yes it is: nobody grants their own
	Via    string // how it came, where not by the name's own login
	Groups []string
	Admin  bool // may answer whatever groups the rule names
}

func (a Approver) String() string {
	if a.Via == "" {
		return a.Name
	}
	return a.Name + " via " + a.Via
}

// Hold is a request with its state.
type Hold struct {
	ID      string    `json:"id"`
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Why     string    `json:"why,omitempty"`
	Votes   []Vote    `json:"votes,omitempty"`
	Request
}

// Vote is one approver's answer.
type Vote struct {
	Name   string    `json:"name"`
	Yes    bool      `json:"yes"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Terms are how far a yes goes.
type Terms struct {
	Uses int           // how often; 0 is once
	For  time.Duration // how long after the grant it may first be used; 0 is an hour
}

// Book keeps holds in a database that package store opened.
type Book struct {
	db  *sql.DB
	now func() time.Time

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever this process changed something
}

// NewBook returns a book over db; now is the clock.
func NewBook(db *sql.DB, now func() time.Time) *Book {
	return &Book{db: db, now: now, changed: make(chan struct{})}
}

// poll is how often a waiting hold looks for an answer given by another
// process.
const poll = 250 * time.Millisecond

// Open records a hold. The caller then waits for it with Wait.
func (b *Book) Open(ctx context.Context, r Request) (Hold, error) {
	now := b.now()
	h := Hold{ID: newID(), State: Waiting, Created: now, Expires: now.Add(r.within()), Request: r}
	detail, err := json.Marshal(r)
	if err != nil {
		return Hold{}, err
	}
	var waiting int
	err = b.db.QueryRowContext(ctx, "SELECT count(*) FROM holds WHERE identity = ? AND state = ? AND expires > ?", r.Identity, Waiting, now.UnixMicro()).Scan(&waiting)
	if err != nil {
		return Hold{}, fmt.Errorf("counting holds: %w", err)
	}
	if waiting >= maxWaiting {
		return Hold{}, ErrTooMany
	}
	_, err = b.db.ExecContext(ctx, `INSERT INTO holds (id, binding, identity, session, target, database, detail, state, created, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		h.ID, r.Binding.Hash(), r.Identity, r.Session, r.Target, r.Database, detail, Waiting, h.Created.UnixMicro(), h.Expires.UnixMicro())
	if err != nil {
		return Hold{}, fmt.Errorf("recording a hold: %w", err)
	}
	return h, nil
}

// Wait returns once the hold has ended: by an answer here or in another
// process, by its time, or by ctx, which cancels it. With most it returns after
// that time, too, and the hold goes on waiting then, as it does when ctx ends.
func (b *Book) Wait(ctx context.Context, id string, most time.Duration) (Hold, error) {
	var enough <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		enough = t.C
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		changed := b.change()
		h, err := b.Get(ctx, id)
		if ctx.Err() != nil && most > 0 {
			return Hold{}, ctx.Err()
		}
		if ctx.Err() != nil {
			return Hold{}, errors.Join(ctx.Err(), b.Cancel(context.WithoutCancel(ctx), id, "the client went away"))
		}
		if err != nil {
			return Hold{}, err
		}
		if h.State != Waiting {
			return h, nil
		}
		if !b.now().Before(h.Expires) {
			if err := b.end(ctx, id, Expired, "nobody answered in time"); err != nil && !errors.Is(err, ErrEnded) {
				return Hold{}, err
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-tick.C:
		case <-enough:
			return b.Get(ctx, id)
		}
	}
}

// Waiting returns the hold that waits for a binding, or ErrUnknown.
func (b *Book) Waiting(ctx context.Context, binding Binding) (Hold, error) {
	hs, err := b.query(ctx, "WHERE binding = ? AND state = ? AND expires > ? ORDER BY created LIMIT 1", binding.Hash(), Waiting, b.now().UnixMicro())
	if err != nil {
		return Hold{}, err
	}
	if len(hs) == 0 {
		return Hold{}, ErrUnknown
	}
	return hs[0], nil
}

// Get returns one hold with its votes.
func (b *Book) Get(ctx context.Context, id string) (Hold, error) {
	hs, err := b.query(ctx, "WHERE id = ?", id)
	if err != nil {
		return Hold{}, err
	}
	if len(hs) == 0 {
		return Hold{}, ErrUnknown
	}
	return hs[0], nil
}

// List returns the holds in that state, or all for "", newest first, at most
// limit.
func (b *Book) List(ctx context.Context, state State, limit int) ([]Hold, error) {
	if state == "" {
		return b.query(ctx, "ORDER BY created DESC, id LIMIT ?", limit)
	}
	return b.query(ctx, "WHERE state = ? ORDER BY created DESC, id LIMIT ?", state, limit)
}

// Approve records a yes; when the last one that the rule asks for has come,
// the hold is granted.
func (b *Book) Approve(ctx context.Context, id string, by Approver, terms Terms, reason string) (Hold, error) {
	return b.vote(ctx, id, by, true, terms, reason)
}

// Deny records a no, which ends the hold.
func (b *Book) Deny(ctx context.Context, id string, by Approver, reason string) (Hold, error) {
	return b.vote(ctx, id, by, false, Terms{}, reason)
}

// Cancel ends a hold that nobody waits for any more.
func (b *Book) Cancel(ctx context.Context, id, why string) error {
	if err := b.end(ctx, id, Cancelled, why); err != nil && !errors.Is(err, ErrEnded) {
		return err
	}
	return nil
}

// Use takes one use of a grant for binding, if there is one, and says whose
// hold it came from. It is atomic over all processes.
func (b *Book) Use(ctx context.Context, binding Binding) (hold string, ok bool, err error) {
	err = b.db.QueryRowContext(ctx, `UPDATE grants SET used = used + 1
		WHERE id = (SELECT id FROM grants WHERE binding = ? AND used < uses AND expires > ? ORDER BY created LIMIT 1)
		RETURNING hold`, binding.Hash(), b.now().UnixMicro()).Scan(&hold)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("using a grant: %w", err)
	}
	return hold, true, nil
}

// Sweep ends the holds of processes that are gone: those past their time.
func (b *Book) Sweep(ctx context.Context) error {
	now := b.now().UnixMicro()
	_, err := b.db.ExecContext(ctx, "UPDATE holds SET state = ?, ended = ?, ended_why = ? WHERE state = ? AND expires <= ?",
		Expired, now, "nobody answered in time", Waiting, now)
	return err
}

func (b *Book) query(ctx context.Context, rest string, args ...any) ([]Hold, error) {
	rows, err := b.db.QueryContext(ctx, "SELECT id, state, created, expires, detail, coalesce(ended_why, '') FROM holds "+rest, args...)
	if err != nil {
		return nil, fmt.Errorf("reading holds: %w", err)
	}
	defer rows.Close()
	var out []Hold
	for rows.Next() {
		var h Hold
		var created, expires int64
		var detail []byte
		if err := rows.Scan(&h.ID, &h.State, &created, &expires, &detail, &h.Why); err != nil {
			return nil, fmt.Errorf("reading holds: %w", err)
		}
		if err := json.Unmarshal(detail, &h.Request); err != nil {
			return nil, fmt.Errorf("reading hold %s: %w", h.ID, err)
		}
		h.Created, h.Expires = time.UnixMicro(created).UTC(), time.UnixMicro(expires).UTC()
		out = append(out, h)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("reading holds: %w", err)
	}
	for i := range out {
		if out[i].Votes, err = b.votes(ctx, out[i].ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (b *Book) votes(ctx context.Context, id string) ([]Vote, error) {
	rows, err := b.db.QueryContext(ctx, "SELECT name, yes, reason, at FROM votes WHERE hold = ? ORDER BY at, name", id)
	if err != nil {
		return nil, fmt.Errorf("reading votes: %w", err)
	}
	defer rows.Close()
	var out []Vote
	for rows.Next() {
		var v Vote
		var at int64
		if err := rows.Scan(&v.Name, &v.Yes, &v.Reason, &at); err != nil {
			return nil, fmt.Errorf("reading votes: %w", err)
		}
		v.At = time.UnixMicro(at).UTC()
		out = append(out, v)
	}
	return out, rows.Err()
}

// mayAnswer says why an approver may not answer a hold, if so.
func mayAnswer(h Hold, by Approver) error {
	if by.Name == h.Identity {
		return ErrOwn
	}
	var groups []string
	for _, n := range h.Needs {
		if counts(by, n) {
			return nil
		}
		groups = append(groups, n.Groups...)
	}
	if len(groups) == 0 {
		return fmt.Errorf("%w: it names no groups, so an administrator must answer", ErrNotApprover)
	}
	return fmt.Errorf("%w: it names %s", ErrNotApprover, strings.Join(groups, ", "))
}

// Sees says whether an approver may look at a hold: it is its own, or one
// that it may answer.
func (a Approver) Sees(h *Hold) bool {
	return a.Name == h.Identity || mayAnswer(*h, a) == nil
}

// counts says whether an approver's yes counts for a need.
func counts(by Approver, n facts.Need) bool {
	return by.Admin || slices.ContainsFunc(by.Groups, func(g string) bool { return slices.Contains(n.Groups, g) })
}

// newID returns an identifier that cannot be guessed and can be typed.
func newID() string {
	var raw [10]byte
	rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

func (b *Book) change() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

func (b *Book) announce() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}
