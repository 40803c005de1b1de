package sqlpolicy

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// maxCost bounds the work of one condition, in CEL's units: a few
// milliseconds.
const maxCost = 1_000_000

// The shapes of the variables. FactsReference documents every field.
type (
	celIdentity struct {
		Name    string         `cel:"name"`
		Kind    string         `cel:"kind"`
		Groups  []string       `cel:"groups"`
		Claims  map[string]any `cel:"claims"`
		Address string         `cel:"address"`
	}
	celSession struct {
		Target   string    `cel:"target"`
		Database string    `cel:"database"`
		RowsRead int64     `cel:"rows_read"`
		Started  time.Time `cel:"started"`
	}
	celStmt struct {
		Text          string   `cel:"text"`
		Action        string   `cel:"action"`
		Verb          string   `cel:"verb"`
		Destructive   bool     `cel:"destructive"`
		Objects       []string `cel:"objects"`
		Columns       []string `cel:"columns"`
		Classes       []string `cel:"classes"`
		Filtered      bool     `cel:"filtered"`
		Limited       bool     `cel:"limited"`
		Limit         int64    `cel:"limit"`
		TopK          int64    `cel:"top_k"`
		Model         string   `cel:"model"`
		Tokens        int64    `cel:"tokens"`
		Functions     []string `cel:"functions"`
		InTransaction bool     `cel:"in_transaction"`
	}
	celPlan struct {
		Rows int64   `cel:"rows"`
		Cost float64 `cel:"cost"`
	}
)

// variables are the names that a condition can use.
var variables = []struct {
	name  string
	shape reflect.Type
}{
	{"identity", reflect.TypeFor[celIdentity]()},
	{"session", reflect.TypeFor[celSession]()},
	{"stmt", reflect.TypeFor[celStmt]()},
	{"plan", reflect.TypeFor[celPlan]()},
}

// environment is the one in which conditions are compiled.
func environment() (*cel.Env, error) {
	opts := []cel.EnvOption{ext.Strings(), cel.Variable("now", cel.TimestampType)}
	native := []any{ext.ParseStructTags(true)}
	for _, v := range variables {
		native = append(native, v.shape)
		opts = append(opts, cel.Variable(v.name, cel.ObjectType("sqlpolicy."+v.shape.Name())))
	}
	return cel.NewEnv(append(opts, ext.NativeTypes(native...))...)
}

// condition is a compiled `when`.
type condition struct {
	program cel.Program
	steady  bool
}

// compile type-checks a rule's condition and notes each error at its place.
func (l *loader) compile(n *strictyaml.Node, name, when string) {
	env, err := environment()
	if err != nil {
		n.Problem("preparing conditions: %v", err)
		return
	}
	ast, issues := env.Compile(when)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			n.ProblemAt(e.Location.Line(), e.Location.Column()+1, "rule %q: %s", name, plain(e.Message))
		}
		return
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		n.Problem("rule %q: the condition gives %s, it must give true or false", name, ast.OutputType())
		return
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		n.Problem("rule %q: %v", name, err)
		return
	}
	for i := range l.p.Rules {
		if l.p.Rules[i].Name == name && l.p.Rules[i].When == when {
			l.p.Rules[i].program = condition{program: program, steady: steady(ast)}
		}
	}
}

// plain takes our type names out of CEL's messages.
func plain(s string) string {
	for _, v := range variables {
		s = strings.ReplaceAll(s, "sqlpolicy."+v.shape.Name(), v.name)
	}
	return s
}

// activation gives a condition its variables. It is made once a statement and
// changed for each effect.
type activation struct {
	values map[string]any
	plan   bool
	asked  bool // a condition named the plan, which is not known
}

var errPlan = errors.New("the plan is not known")

func (a *activation) ResolveName(name string) (any, bool) {
	if name == "plan" && !a.plan {
		a.asked = true
		return types.NewErr("%v", errPlan), true
	}
	v, ok := a.values[name]
	return v, ok
}

func (a *activation) Parent() cel.Activation { return nil }

// eval says whether the condition holds.
func (c condition) eval(a *activation) (bool, error) {
	if c.program == nil {
		return false, errors.New("the condition was not compiled")
	}
	out, _, err := c.program.Eval(a)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition gave %s", out.Type().TypeName())
	}
	return bool(b), nil
}

// newActivation fills what is the same for all effects.
func newActivation(in *Input) *activation {
	id, s := in.Identity, in.Session
	claims := id.Claims
	if claims == nil {
		claims = map[string]any{}
	}
	a := &activation{values: map[string]any{
		"identity": &celIdentity{Name: id.Name, Kind: id.Kind, Groups: id.Groups, Claims: claims, Address: id.Address},
		"session":  &celSession{Target: s.Target, Database: s.Database, RowsRead: s.RowsRead, Started: s.Started},
		"now":      in.Now,
	}}
	if in.Plan != nil && in.Plan.Known {
		a.plan = true
		a.values["plan"] = &celPlan{Rows: in.Plan.Rows, Cost: in.Plan.Cost}
	}
	return a
}

// effect puts one effect's stmt in place.
func (a *activation) effect(in *Input, e *facts.Effect, classes []string) {
	s := &celStmt{
		Text: in.Text, Action: string(e.Action), Verb: e.Verb, Destructive: e.Destructive, Classes: classes,
		Filtered: e.Filtered, Limited: e.Limited, Limit: e.Limit, TopK: e.TopK, Tokens: e.Tokens, Functions: e.Functions, InTransaction: in.InTransaction,
	}
	for _, o := range e.Objects {
		s.Objects = append(s.Objects, o.Name.String())
		if o.Kind == "model" {
			s.Model = o.Name.Name
		}
	}
	for _, c := range e.Columns {
		if col, ok := in.Facts.Column(c); ok {
			s.Columns = append(s.Columns, in.Facts.Tables[c.Table].Name.String()+"."+col.Name)
		}
	}
	a.values["stmt"] = s
}
