package pgfacts

import (
	"slices"

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
		return o.undefinedProcedure(schema, base, args, o.at(f.Location))
	}
	o.f.OpenResults = true // its OUT arguments come as one row
	o.effect(facts.Effect{Action: facts.Call, Verb: "CALL", Functions: called})
	return nil
}
