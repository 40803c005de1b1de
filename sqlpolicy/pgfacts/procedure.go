package pgfacts

import (
	"fmt"
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// callProcedure is CALL. Which of several procedures of a name it means
// depends on their OUT arguments, which the catalog does not have: it counts
// as a call of each.
func (o *one) callProcedure(f *pg_query.FuncCall) error {
	n := &pg_query.Node{Node: &pg_query.Node_FuncCall{FuncCall: f}}
	o.declareParams(n, nil)
	args, _ := o.analysis.arguments(o.top(), f)
	if o.problem != nil {
		return o.problem
	}
	schema, base := splitName(f.Funcname)
	var called []string
	for _, p := range o.view.FunctionsNamed(schema, base) {
		// One that is no procedure is for PostgreSQL to refuse.
		if name := p.Schema + "." + p.Name; !slices.Contains(called, name) {
			called = append(called, name)
			o.use(facts.Use{Kind: facts.UseCode, Name: name, What: "CALL", At: -1})
		}
	}
	if len(called) == 0 {
		return undefinedProcedure(schema, base, args, o.at(f.Location))
	}
	o.f.OpenResults = true // its OUT arguments come as one row
	o.effect(facts.Effect{Action: facts.Call, Verb: "CALL", Functions: called})
	return nil
}

func undefinedProcedure(schema, name string, args []value, at int) error {
	return &facts.Problem{
		Code: "42883", At: at, Undefined: true,
		Message: fmt.Sprintf("procedure %s(%s) does not exist", joinName(schema, name), typeList(args)),
		Hint:    "No procedure matches the given name and argument types. You might need to add explicit type casts.",
	}
}

// typeList is the types of arguments as messages name them.
func typeList(args []value) string {
	types := make([]string, len(args))
	for i, v := range args {
		types[i] = printable(v.typ)
	}
	return strings.Join(types, ", ")
}
