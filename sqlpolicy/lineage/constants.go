package lineage

import (
	"slices"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Constants are a statement's literals and parameters, with the columns that
// each is compared with or put together with. The zero value is empty. It is
// used by one goroutine.
type Constants struct {
	list     []constant
	literals map[int]int // by where they begin
	params   map[int]int // by their number
}

type constant struct {
	param    int // 0 for a literal
	from, to int
	columns  Flow
}

// Literal notes the literal at that half-open byte range and returns its
// index.
func (c *Constants) Literal(from, to int) int {
	i, ok := c.literals[from]
	if !ok {
		if c.literals == nil {
			c.literals = map[int]int{}
		}
		i = len(c.list)
		c.list = append(c.list, constant{from: from, to: to})
		c.literals[from] = i
	}
	return i
}

// At is the index of the literal that begins there.
func (c *Constants) At(from int) (i int, ok bool) {
	i, ok = c.literals[from]
	return i, ok
}

// Parameter notes the parameter of that 1-based number and returns its index.
func (c *Constants) Parameter(n int) int {
	i, ok := c.params[n]
	if !ok {
		if c.params == nil {
			c.params = map[int]int{}
		}
		i = len(c.list)
		c.list = append(c.list, constant{param: n})
		c.params[n] = i
	}
	return i
}

// Meet marks constants, by index, as met by a flow's columns.
func (c *Constants) Meet(indexes []int, flow Flow) {
	if len(flow) == 0 {
		return
	}
	for _, i := range indexes {
		c.list[i].columns = Merge(c.list[i].columns, flow)
	}
}

// Facts are the constants that met a column.
func (c *Constants) Facts() (literals []facts.Constant, params []facts.ParamUse) {
	for _, k := range c.list {
		switch {
		case len(k.columns) == 0:
		case k.param > 0:
			params = append(params, facts.ParamUse{Param: k.param, Columns: k.columns.Refs()})
		default:
			literals = append(literals, facts.Constant{From: k.from, To: k.to, Columns: k.columns.Refs()})
		}
	}
	return literals, params
}

// Gather joins lists of constants' indexes: ascending, each once.
func Gather(lists ...[]int) []int {
	owners, size := 0, 0
	var only []int
	for _, l := range lists {
		if len(l) > 0 {
			owners, size, only = owners+1, size+len(l), l
		}
	}
	if owners <= 1 {
		return only
	}
	out := make([]int, 0, size)
	for _, l := range lists {
		out = append(out, l...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
