package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// column is a result column as RowDescription says.
type column struct {
	name   string
	table  uint32
	number int16
	typ    uint32
	format int16
}

// parseColumns reads RowDescription.
func parseColumns(body []byte) ([]column, error) {
	f := fields{b: body}
	cols := make([]column, f.count(19))
	for i := range cols {
		c := &cols[i]
		c.name = f.string()
		c.table = f.uint32()
		c.number = int16(f.int16())
		c.typ = f.uint32()
		f.int16()
		f.int32()
		c.format = int16(f.int16())
	}
	if !f.done() {
		return nil, errors.New("malformed RowDescription from the upstream")
	}
	return cols, nil
}

// withFormats is columns with the formats that Bind asked for.
func withFormats(cols []column, formats []int16) []column {
	out := slices.Clone(cols) // not nil where there are none: those are known
	for i := range out {
		switch {
		case len(formats) == 1:
			out[i].format = formats[0]
		case i < len(formats):
			out[i].format = formats[i]
		default:
			out[i].format = 0
		}
	}
	return out
}

// inFormats is the statement's columns as a portal's rows have them.
func (st *statement) inFormats(formats []int16) []column {
	if st.formatted == nil || !slices.Equal(st.formats, formats) {
		st.formatted, st.formats = withFormats(st.columns, formats), slices.Clone(formats)
	}
	return st.formatted
}

// lastRows is what the last RowDescription was, and what was made of it for its
// rows: the next one is mostly the same.
type lastRows struct {
	body    []byte
	columns []column

	of        []column         // that the following is for
	types     *catalog.Catalog // by which types have names
	announced []protocols.ResultColumn
	masks     []*mask.Mask
	style     string
	cells     []cellMask
}

// Bounds of what is kept of the last rows: of the RowDescription in bytes, and
// of its columns.
const (
	largestLast = 512
	manyColumns = 32
)

// read is the columns of a RowDescription. They must not be changed.
func (l *lastRows) read(body []byte) ([]column, error) {
	if l.columns != nil && bytes.Equal(l.body, body) {
		return l.columns, nil
	}
	cols, err := parseColumns(body)
	if err == nil && len(body) <= largestLast {
		l.body, l.columns = append(l.body[:0], body...), cols
	}
	return cols, err
}

// same says that both are one slice.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// announce is the columns as the engine knows them.
func (s *session) announce(cols []column) *lastRows {
	l := &s.last
	types := s.types.Load()
	if l.announced != nil && same(l.of, cols) && l.types == types {
		return l
	}
	announced := make([]protocols.ResultColumn, len(cols))
	for i, c := range cols {
		typ := s.typeName(c.typ)
		announced[i] = protocols.ResultColumn{Name: c.name, Table: c.table, Column: int32(c.number), Type: typ, Kind: kindOf(typ)}
	}
	l.of, l.types, l.announced, l.masks, l.cells = cols, types, announced, nil, nil
	return l
}

// cellMasks are nil where no column has a mask.
func (s *session) cellMasks(masks []*mask.Mask, announced []protocols.ResultColumn, cols []column) (cells []cellMask, err error) {
	for i, m := range masks {
		if m == nil {
			continue
		}
		if cells == nil {
			cells = make([]cellMask, len(cols))
		}
		if cells[i], err = newCellMask(m, announced[i].Type, cols[i].format, s.style); err != nil {
			return nil, &wireError{severity: "ERROR", code: "0A000", message: fmt.Sprintf("the mask of column %s cannot be applied: %v", quote(cols[i].name), err)}
		}
	}
	return cells, nil
}
