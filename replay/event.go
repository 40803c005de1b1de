// Package replay holds the transcript of a session: its format (FORMAT.md),
// writing it as the session runs, reading, verifying and showing it. It knows
// nothing of wires and of live sessions.
package replay

import (
	"encoding/json"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Version is the format's, as it is written. Older ones are read.
const Version = 4

// Types of events.
const (
	TypeOpen      = "open"
	TypeStatement = "statement"
	TypeHold      = "hold"
	TypeGrant     = "grant"
	TypeRows      = "rows"
	TypeComplete  = "complete"
	TypeError     = "error"
	TypeClose     = "close"
	TypeRecovered = "recovered"
	TypeSeal      = "seal"
)

// Event is one line of a transcript; which fields are set depends on Type.
type Event struct {
	Type   string    `json:"t"`
	Number int64     `json:"n"`
	At     time.Time `json:"at"`

	// open and seal
	Version  int               `json:"version,omitempty"`
	Session  string            `json:"session,omitempty"`
	Identity *facts.Identity   `json:"identity,omitempty"`
	Target   string            `json:"target,omitempty"`
	Protocol string            `json:"protocol,omitempty"`
	Database string            `json:"database,omitempty"`
	Address  string            `json:"address,omitempty"`
	Options  map[string]string `json:"options,omitempty"`
	Policy   string            `json:"policy,omitempty"` // its hash; of a statement, the one that decided
	Program  string            `json:"program,omitempty"`

	// Same is the number of an earlier statement of the frame, from which kind,
	// policy, facts, decision, in_transaction, catalog, search_path, role and
	// settings are taken. Read has done so.
	Same int64 `json:"same,omitempty"`

	// statement; ID ties rows, complete, error, hold and grant to it
	ID            int64           `json:"id,omitempty"`
	Kind          string          `json:"kind,omitempty"` // query, prepare, execute, call
	Text          string          `json:"text,omitempty"`
	Params        []facts.Param   `json:"params,omitempty"`
	Facts         json.RawMessage `json:"facts,omitempty"`    // facts.Facts; one line of valid JSON, as Decision
	Decision      json.RawMessage `json:"decision,omitempty"` // facts.Decision
	InTransaction bool            `json:"in_transaction,omitempty"`
	Catalog       string          `json:"catalog,omitempty"` // its hash
	SearchPath    []string        `json:"search_path,omitempty"`
	Role          string          `json:"role,omitempty"`
	Settings      string          `json:"settings,omitempty"` // catalog.Settings
	RowsRead      int64           `json:"rows_read,omitempty"`
	Plan          *facts.Plan     `json:"plan,omitempty"`
	// Spent is what was used of the budgets that the statement is charged to, by
	// their names.
	Spent   map[string]facts.Spent `json:"spent,omitempty"`
	Problem *facts.Problem         `json:"problem,omitempty"` // it could not be analysed

	// hold and grant
	Hold   string `json:"hold,omitempty"`
	Reason string `json:"reason,omitempty"` // of a close, too
	By     string `json:"by,omitempty"`
	// Needs of a hold.
	Needs []facts.Need `json:"needs,omitempty"`

	// rows
	Columns []string    `json:"columns,omitempty"`
	Cells   [][]*string `json:"rows,omitempty"`

	// complete and error
	Tag          string  `json:"tag,omitempty"`
	Code         string  `json:"code,omitempty"`
	Message      string  `json:"message,omitempty"`
	Rows         int64   `json:"count,omitempty"` // sent, recorded or not
	Bytes        int64   `json:"bytes,omitempty"`
	Milliseconds float64 `json:"ms,omitempty"`
	// Usage is what a model's answer took, of complete and error.
	Usage *facts.Usage `json:"usage,omitempty"`
	// Hash is a ResultHash of all rows, where the policy asks for it.
	Hash string `json:"hash,omitempty"`

	// close
	Statements int64 `json:"statements,omitempty"`
	// Totals are of the whole session, so that a list need not read all of it.
	Totals *Totals `json:"totals,omitempty"`

	// seal, in hexadecimal
	Prev      string `json:"prev,omitempty"`
	Sum       string `json:"sum,omitempty"`
	Key       string `json:"key,omitempty"`
	Signature string `json:"sig,omitempty"`
	// Marks tell which of a frame's events was changed: base64 of two bytes an
	// event.
	Marks string `json:"marks,omitempty"`
	// End says that an encrypted frame is its session's last.
	End bool `json:"end,omitempty"`
}

// Totals count a session's events.
type Totals struct {
	Statements int64 `json:"statements,omitempty"`
	Refused    int64 `json:"refused,omitempty"`
	Rows       int64 `json:"rows,omitempty"` // that complete results had
	Bytes      int64 `json:"bytes,omitempty"`
}

func (t *Totals) count(e *Event) {
	switch e.Type {
	case TypeStatement:
		t.Statements++
	case TypeComplete:
		t.Rows += e.Rows
		t.Bytes += e.Bytes
	case TypeError:
		if e.Code == RefusedCode {
			t.Refused++
		}
	}
}
