package myfacts

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// temporaryKey is a table's name as View.Temporary has it.
func (o *one) temporaryKey(t *ast.TableName) [2]string {
	n := o.fullName(t)
	if o.folds {
		return [2]string{strings.ToLower(n.Schema), strings.ToLower(n.Name)}
	}
	return [2]string{n.Schema, n.Name}
}

func (o *one) setTemporary(t *ast.TableName, r *catalog.Relation) {
	if o.changes().Temporary == nil {
		o.change.Temporary = map[[2]string]*catalog.Relation{}
	}
	o.change.Temporary[o.temporaryKey(t)] = r
}

func (o *one) dropTemporary(t *ast.TableName) {
	if _, ok := o.view.Temporary[o.temporaryKey(t)]; ok {
		o.setTemporary(t, nil)
	}
}

// unfollowed: the statement changes tables in a way that is not followed where
// they are temporary ones.
func (o *one) unfollowed(tables ...*ast.TableName) {
	temporary := false
	for _, t := range tables {
		_, ok := o.view.Temporary[o.temporaryKey(t)]
		temporary = temporary || ok
	}
	if !temporary {
		return
	}
	for _, t := range tables {
		o.setTemporary(t, uncertain(o.temporaryKey(t)))
	}
}

// uncertain stands for a temporary table of which it is not known what has
// become.
func uncertain(name [2]string) *catalog.Relation {
	return &catalog.Relation{Schema: name[0], Name: name[1], Kind: catalog.RelUncertain, Temporary: true}
}
