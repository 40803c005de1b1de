package sqlpolicy

import (
	"math"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func TestCost(t *testing.T) {
	p := load(t, `version: 1
prices:
  - {models: ["small-*"], input: 0.15, output: 0.6}
  - {models: ["small-x", big], input: 2.5, output: 10}
budgets: [{cost: 25.5, per: 24h}]
`)
	for _, tt := range []struct {
		model   string
		in, out int64
		want    int64
		ok      bool
	}{
		{"small-1", 1_000_000, 1_000_000, 750_000, true}, {"small-1", 1, 0, 1, true}, {"small-x", 1_000_000, 0, 2_500_000, true},
		{"big", 0, 100, 1000, true}, {"other", 1, 1, 0, false}, {"big", math.MaxInt64, 0, mostCost * 1_000_000, true}, {"big", -5, 0, 0, true},
	} {
		if got, ok := p.Cost(tt.model, facts.Usage{Input: tt.in, Output: tt.out}); got != tt.want || ok != tt.ok {
			t.Errorf("%+v: %d %v", tt, got, ok)
		}
	}
	if b := p.Budgets[0]; b.Cost != 25_500_000 || b.Name != "budget of cost 25.5 per 24h0m0s" || b.Left(facts.Spent{Cost: 25_500_000}) || !b.Left(facts.Spent{Cost: 25_499_999}) {
		t.Errorf("%+v", b)
	}
	for _, bad := range []string{"budgets: [{cost: 1, per: 1h}]", "prices: [{models: [a]}]", "prices: [{models: [a], input: -1}]", "prices: [{models: [a], input: 0.0000001}]", "prices: [{models: [a], input: 1e3}]", "prices: [{models: [a], input: 9999999999}]"} {
		if _, err := Parse("p.yaml", []byte("version: 1\n"+bad+"\n")); err == nil || !strings.Contains(err.Error(), "p.yaml:2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
