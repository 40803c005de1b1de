// Package register keeps the chained list of sessions in the state: when one
// begins and when it ends, with the head of its transcript. By it `replay
// verify` finds transcripts that are missing, cut back or put in, which no
// transcript can tell of itself.
package register

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/replay"
)

// Kind is what an entry says of its session.
type Kind string

const (
	Begin   Kind = "begin"
	End     Kind = "end"
	Removed Kind = "removed" // its time of retention was over
)

// Entry is one line of the register. Sum covers it and the entry before.
type Entry struct {
	N       int64
	At      time.Time // microseconds count
	Kind    Kind
	Session string
	Place   Place
	Head    replay.Head
	Sum     string // SHA-256 in hexadecimal
	Key     string // that signed
	Sig     string
}

// Place is where a transcript is stored.
type Place struct {
	Store string // the folder or bucket
	// Spool is the folder in which a proxy keeps its sessions until they are in
	// the bucket, with the name of its machine; "" where Store is a folder.
	Spool string
}

// covered is what Sum is the SHA-256 of.
func (e *Entry) covered(prev string) []byte {
	return fmt.Appendf(nil, "sallyport register v1\n%d\n%d\n%s\n%q\n%q\n%q\n%s\n%d\n%s\n",
		e.N, e.At.UnixMicro(), e.Kind, e.Session, e.Place.Store, e.Place.Spool, e.Head.Sum, e.Head.Number, prev)
}

func (e *Entry) sum(prev string) string {
	s := sha256.Sum256(e.covered(prev))
	return hex.EncodeToString(s[:])
}

func signed(sum string) []byte { return []byte("sallyport register v1\n" + sum + "\n") }

// Register is the list. It is safe for concurrent use, by several processes too.
type Register struct {
	db    *sql.DB
	key   ed25519.PrivateKey
	place Place
	now   func() time.Time
}

// New makes a register over the state db, for the transcripts of one place.
func New(db *sql.DB, key ed25519.PrivateKey, place Place, now func() time.Time) *Register {
	return &Register{db: db, key: key, place: place, now: now}
}

// Add appends an entry. Once it returns, the entry is in the state.
func (r *Register) Add(ctx context.Context, kind Kind, session string, head replay.Head) error {
	// The transaction begins with the write lock, so that no two entries
	// follow the same one.
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("the register of sessions: %w", err)
	}
	defer tx.Rollback()
	e := Entry{N: 1, At: r.now(), Kind: kind, Session: session, Place: r.place, Head: head, Key: replay.KeyID(r.key.Public().(ed25519.PublicKey))}
	prev, n := "", int64(0)
	switch err := tx.QueryRowContext(ctx, `SELECT n, sum FROM sessions ORDER BY n DESC LIMIT 1`).Scan(&n, &prev); {
	case err == nil:
		e.N = n + 1
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("the register of sessions: %w", err)
	}
	e.Sum = e.sum(prev)
	e.Sig = hex.EncodeToString(ed25519.Sign(r.key, signed(e.Sum)))
	_, err = tx.ExecContext(ctx, `INSERT INTO sessions (n, at, kind, session, place, spool, head, events, sum, key, sig) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.N, e.At.UnixMicro(), string(e.Kind), e.Session, e.Place.Store, e.Place.Spool, e.Head.Sum, e.Head.Number, e.Sum, e.Key, e.Sig)
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("the register of sessions: %w", err)
	}
	return nil
}

// Known are all sessions of this store.
func (r *Register) Known(ctx context.Context) (map[string]bool, error) {
	list, err := r.sessions(ctx, `SELECT DISTINCT session FROM sessions WHERE place = ?`, r.place.Store)
	known := map[string]bool{}
	for _, s := range list {
		known[s] = true
	}
	return known, err
}

// Open lists the sessions of this place that have begun and neither ended nor
// were removed. Those of other spools are other proxies'.
func (r *Register) Open(ctx context.Context) ([]string, error) {
	return r.sessions(ctx, `SELECT session FROM sessions WHERE place = ? AND spool = ?
		GROUP BY session HAVING COUNT(*) FILTER (WHERE kind <> 'begin') = 0 ORDER BY session`, r.place.Store, r.place.Spool)
}

// EndedBefore are the sessions of this store that ended before at and were not
// removed, and whether they are this proxy's own.
func (r *Register) EndedBefore(ctx context.Context, at time.Time) (map[string]bool, error) {
	const ended = `SELECT session FROM sessions WHERE place = ? AND (spool = ?) = ? GROUP BY session
		HAVING COUNT(*) FILTER (WHERE kind = 'end') > 0 AND MAX(at) FILTER (WHERE kind = 'end') < ?
		EXCEPT SELECT session FROM sessions WHERE place = ? AND kind = 'removed'`
	out := map[string]bool{}
	for _, own := range []bool{true, false} {
		list, err := r.sessions(ctx, ended, r.place.Store, r.place.Spool, own, at.UnixMicro(), r.place.Store)
		if err != nil {
			return nil, err
		}
		for _, session := range list {
			out[session] = own
		}
	}
	return out, nil
}

func (r *Register) sessions(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("the register of sessions: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// Session is what a register says of one.
type Session struct {
	Begun, Ended, Removed bool
	Head                  replay.Head // of the end
	Spool                 string
}

// Book is a register that was read and checked.
type Book struct {
	Entries  int64
	Sum      string             // of the last entry
	Sessions map[string]Session // of the store asked for
	Findings []string           // what is wrong with the register itself
	place    Place
	sums     map[int64]string
}

// Read reads the register of db and checks its chain and signatures. place
// says whose sessions are wanted.
func Read(ctx context.Context, db *sql.DB, pub ed25519.PublicKey, place Place) (*Book, error) {
	rows, err := db.QueryContext(ctx, `SELECT n, at, kind, session, place, spool, head, events, sum, key, sig FROM sessions ORDER BY n`)
	if err != nil {
		return nil, fmt.Errorf("reading the register of sessions: %w", err)
	}
	defer rows.Close()
	b := &Book{place: place, Sessions: map[string]Session{}, sums: map[int64]string{}}
	for rows.Next() {
		var e Entry
		var at int64
		if err := rows.Scan(&e.N, &at, &e.Kind, &e.Session, &e.Place.Store, &e.Place.Spool, &e.Head.Sum, &e.Head.Number, &e.Sum, &e.Key, &e.Sig); err != nil {
			return nil, fmt.Errorf("reading the register of sessions: %w", err)
		}
		e.At = time.UnixMicro(at)
		b.entry(&e, pub)
	}
	return b, rows.Err()
}

func (b *Book) entry(e *Entry, pub ed25519.PublicKey) {
	find := func(format string, args ...any) {
		b.Findings = append(b.Findings, fmt.Sprintf("entry %d: %s", e.N, fmt.Sprintf(format, args...)))
	}
	if e.N != b.Entries+1 {
		find("follows entry %d: entries between them were removed", b.Entries)
	}
	if e.sum(b.Sum) != e.Sum {
		find("is not what was written, or does not follow the entry before it")
	}
	if sig, err := hex.DecodeString(e.Sig); err != nil || !ed25519.Verify(pub, signed(e.Sum), sig) {
		find("its signature is not good: it names key %.16q, this is key %s", e.Key, replay.KeyID(pub))
	}
	b.Entries, b.Sum = e.N, e.Sum
	b.sums[e.N] = e.Sum
	if e.Place.Store != b.place.Store {
		return
	}
	s := b.Sessions[e.Session]
	if e.Kind != Removed {
		s.Spool = e.Place.Spool
	}
	switch e.Kind {
	case Begin:
		s.Begun = true
	case End:
		s.Ended, s.Head = true, e.Head
	case Removed:
		s.Removed = true
	default:
		find("has a kind that is not known: %.20q", string(e.Kind))
	}
	b.Sessions[e.Session] = s
}

// Head names the last entry, for who keeps it elsewhere: its number and sum.
func (b *Book) Head() string { return fmt.Sprintf("%d:%.32s", b.Entries, b.Sum) }

// Holds says whether a head that was noted earlier is still in the register:
// "" where it is, else what is wrong.
func (b *Book) Holds(head string) string {
	n, sum, ok := strings.Cut(head, ":")
	number, err := strconv.ParseInt(n, 10, 64)
	switch {
	case !ok || err != nil || len(sum) != 32:
		return fmt.Sprintf("%.60q is no head; one is printed by every verify", head)
	case number > b.Entries:
		return fmt.Sprintf("the register ends with entry %d, and had entry %d once: its end was cut off", b.Entries, number)
	case number == 0 && b.Entries >= 0:
		return ""
	case b.sums[number][:min(32, len(b.sums[number]))] != sum:
		return fmt.Sprintf("entry %d is not the one that was noted: the register was rewritten", number)
	}
	return ""
}

// OpenElsewhere says that a session has not ended and is another proxy's.
func (b *Book) OpenElsewhere(session string) bool {
	s, known := b.Sessions[session]
	return known && !s.Ended && s.Spool != b.place.Spool
}

// Missing checks a session's transcript against the register. There is no
// finding where they agree. report is nil where no transcript was found.
func (b *Book) Missing(session string, report *replay.Report) string {
	s, known := b.Sessions[session]
	switch {
	case !known && report != nil && report.Empty:
		return "" // its begin could not be entered, so that nothing was forwarded
	case !known && report != nil:
		return "the register does not know this session: the transcript was put in, or the register's end was cut off"
	case !known || s.Removed:
		return ""
	case report == nil && s.Spool != b.place.Spool && !s.Ended:
		return "" // it is in the spool of another proxy
	case report == nil && s.Spool != b.place.Spool:
		return fmt.Sprintf("the transcript is missing, or still in %s; it ended with event %d", s.Spool, s.Head.Number)
	case report == nil && s.Ended:
		return fmt.Sprintf("the transcript is missing; it ended with event %d", s.Head.Number)
	case report == nil:
		return "the transcript is missing; the session had not ended, or the proxy has not recovered it yet"
	case s.Ended && report.Head != s.Head:
		return fmt.Sprintf("the register says that it ended with event %d and seal %.16s; it ends with event %d and seal %.16s", s.Head.Number, s.Head.Sum, report.Head.Number, report.Head.Sum)
	}
	return ""
}
