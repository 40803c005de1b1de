package mysql

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/sqlwire"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// explainSQL asks the planner; it runs nothing of the statement.
const explainSQL = "EXPLAIN FORMAT=JSON "

// costSQL asks what the statement explained last would cost. MySQL's plans
// have it themselves.
const costSQL = "SHOW SESSION STATUS LIKE 'Last_query_cost'"

// planQuery asks the planner about a text.
func (s *session) planQuery(_ context.Context, text string) (facts.Plan, error) {
	return s.explained(func(each func([][]byte) error) error { return s.own(explainSQL+text, each) })
}

// planExecute asks the planner about a prepared text with its parameters:
// EXPLAIN is prepared and executed with the client's own bytes.
func (s *session) planExecute(execute []byte, long map[int][]byte) func(context.Context, string) (facts.Plan, error) {
	return func(_ context.Context, text string) (facts.Plan, error) {
		return s.explained(func(each func([][]byte) error) error { return s.ownPrepared(explainSQL+text, execute, long, each) })
	}
}

// explained reads a plan. A planner's refusal is a plan that is not known.
func (s *session) explained(ask func(each func([][]byte) error) error) (facts.Plan, error) {
	var out []byte
	err := ask(func(cells [][]byte) error {
		for _, c := range cells {
			out = append(out, c...)
		}
		return nil
	})
	var r *report
	if errors.As(err, &r) {
		return facts.Plan{}, nil
	}
	if err != nil {
		return facts.Plan{}, err
	}
	rows, cost, ok := readPlan(out)
	if ok && cost < 0 {
		err = s.own(costSQL, func(cells [][]byte) error {
			if len(cells) == 2 {
				if x, err := strconv.ParseFloat(string(cells[1]), 64); err == nil {
					cost = x
				}
			}
			return nil
		})
		if err != nil && !errors.As(err, &r) {
			return facts.Plan{}, err
		}
	}
	if !ok || cost < 0 {
		return facts.Plan{}, nil
	}
	return facts.Plan{Known: true, Rows: int64(min(sqlwire.PowerOfTen(rows), 1e18)), Cost: sqlwire.PowerOfTen(cost)}, nil
}

// node is any part of EXPLAIN's JSON. MariaDB and MySQL give their tables the
// same names.
//
// Source: https://dev.mysql.com/worklog/task/?id=6510 and
// https://mariadb.com/kb/en/explain-format-json/.
type node map[string]json.RawMessage

// readPlan takes the rows that come out of the outermost joins, an upper bound
// where they are grouped, and the whole cost, -1 where the plan has none.
func readPlan(b []byte) (rows, cost float64, ok bool) {
	var root node
	if json.Unmarshal(b, &root) != nil {
		return 0, 0, false
	}
	var block node
	if json.Unmarshal(root["query_block"], &block) != nil {
		return 0, 0, false
	}
	cost = -1
	var info struct {
		Cost json.Number `json:"query_cost"`
	}
	if json.Unmarshal(block["cost_info"], &info) == nil {
		if x, err := strconv.ParseFloat(info.Cost.String(), 64); err == nil {
			cost = x
		}
	} else if x, err := strconv.ParseFloat(string(block["cost"]), 64); err == nil {
		cost = x
	}
	rows, ok = planRows(block, 0)
	return rows, cost, ok
}

// maxPlanDepth bounds how deep a plan is read.
const maxPlanDepth = 64

// planRows multiplies the tables of a join and adds the arms of a union.
func planRows(n node, depth int) (float64, bool) {
	if depth > maxPlanDepth {
		return 0, false
	}
	if raw, ok := n["table"]; ok {
		return tableRows(raw)
	}
	for _, key := range []string{"nested_loop", "query_specifications"} {
		raw, ok := n[key]
		if !ok {
			continue
		}
		var list []node
		if json.Unmarshal(raw, &list) != nil {
			return 0, false
		}
		total := 1.0
		if key != "nested_loop" {
			total = 0
		}
		for _, m := range list {
			x, ok := planRows(m, depth+1)
			switch {
			case !ok:
				return 0, false
			case key == "nested_loop":
				total *= max(x, 1)
			default:
				total += x
			}
		}
		return total, true
	}
	for _, key := range []string{"query_block", "union_result", "read_sorted_file", "filesort", "temporary_table", "grouping_operation", "ordering_operation",
		"duplicates_removal", "windowing", "buffer_result", "block-nl-join", "window_functions_computation", "sort"} {
		if raw, ok := n[key]; ok {
			var m node
			if json.Unmarshal(raw, &m) == nil {
				return planRows(m, depth+1)
			}
		}
	}
	if _, ok := n["message"]; ok { // no tables, or an impossible condition
		return 1, true
	}
	return 0, false
}

func tableRows(raw json.RawMessage) (float64, bool) {
	var t struct {
		Rows     *float64    `json:"rows"`
		Examined *float64    `json:"rows_examined_per_scan"`
		Filtered json.Number `json:"filtered"`
		Message  string      `json:"message"`
	}
	if json.Unmarshal(raw, &t) != nil {
		return 0, false
	}
	rows := t.Rows
	if rows == nil {
		rows = t.Examined
	}
	if rows == nil {
		return 1, t.Message != ""
	}
	filtered := 100.0
	if x, err := strconv.ParseFloat(t.Filtered.String(), 64); err == nil {
		filtered = x
	}
	return *rows * filtered / 100, true
}

// ownPrepared prepares a text of ours, executes it with a client's parameters
// and closes it.
func (s *session) ownPrepared(text string, execute []byte, long map[int][]byte, each func([][]byte) error) error {
	if err := s.control(protocols.ControlOwn, append([]byte{comStmtPrepare}, text...)); err != nil {
		return err
	}
	b, err := s.message()
	if err != nil {
		return err
	}
	if b[0] == headErr {
		return asReport(b)
	}
	f := fields{b: b}
	f.byte()
	id, columns, params := f.uint32(), int(f.uint16()), int(f.uint16())
	if f.bad {
		return &upstreamError{errAnswer}
	}
	for _, n := range []int{params, columns} {
		for range n {
			if _, err := s.message(); err != nil {
				return err
			}
		}
		if n > 0 && s.upCaps&capDeprecateEOF == 0 {
			if _, err := s.readEOF(); err != nil {
				return err
			}
		}
	}
	for n, data := range long {
		head := binary.LittleEndian.AppendUint16(append([]byte{comStmtLongData}, uint32Bytes(id)...), uint16(n))
		if err := s.control(protocols.ControlOwn, append(head, data...)); err != nil {
			return err
		}
	}
	run := append(append([]byte{comStmtExecute}, uint32Bytes(id)...), 0) // no cursor
	run = append(run, execute[5:]...)
	if len(execute) > 4 && execute[4]&parameterCount != 0 {
		run[5] = parameterCount
	}
	if err := s.control(protocols.ControlOwn, run); err != nil {
		return err
	}
	e, err := ownAnswer(s.ur, s.upCaps, true, each)
	var r *report
	if err != nil && !errors.As(err, &r) {
		return &upstreamError{err}
	}
	if err == nil {
		err = s.track(&e)
	}
	if closing := s.control(protocols.ControlOwn, append([]byte{comStmtClose}, uint32Bytes(id)...)); closing != nil {
		return closing
	}
	return err
}
