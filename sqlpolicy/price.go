package sqlpolicy

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// price is what a million tokens of some models cost, in millionths of
// whatever unit the policy counts in.
type price struct {
	models        []string
	input, output int64
}

func (l *loader) price(n *strictyaml.Node) {
	var p price
	n.Map(map[string]func(*strictyaml.Node){
		"models": func(n *strictyaml.Node) { p.models = n.Strings() },
		"input":  func(n *strictyaml.Node) { p.input = millionths(n) },
		"output": func(n *strictyaml.Node) { p.output = millionths(n) },
	})
	if len(p.models) == 0 || p.input == 0 && p.output == 0 {
		n.Problem("a price needs models, and input or output for a million tokens")
	}
	l.p.prices = append(l.p.prices, p)
}

// mostCost keeps sums of costs far from overflowing: a thousand million.
const mostCost = 1e9

// millionths reads a number of at most six decimals, exactly.
func millionths(n *strictyaml.Node) int64 {
	text := n.Text()
	whole, part, _ := strings.Cut(text, ".")
	v, err := strconv.ParseUint(whole+(part + "000000")[:max(6, len(part))], 10, 63)
	if err != nil || len(part) > 6 || whole == "" || strings.HasSuffix(text, ".") || v == 0 || v > mostCost*1_000_000 {
		n.Problem("must be a number above 0, with at most six decimals, such as 2.50")
		return 0
	}
	return int64(v)
}

// decimal writes millionths.
func decimal(v int64) string {
	s := strconv.FormatInt(v/1_000_000, 10)
	if part := v % 1_000_000; part > 0 {
		s += "." + strings.TrimRight(strconv.FormatInt(1_000_000+part, 10)[1:], "0")
	}
	return s
}

// Cost is what a model's answer costs, in millionths, rounded up; ok is false
// where the policy names no price of the model. Of several prices the dearest
// counts.
func (p *Policy) Cost(model string, u facts.Usage) (cost int64, ok bool) {
	for _, x := range p.prices {
		if !slices.ContainsFunc(x.models, func(m string) bool { return wild(m, model) }) {
			continue
		}
		cost, ok = max(cost, perMillion(u.Input, x.input)+perMillion(u.Output, x.output)), true
	}
	return cost, ok
}

// perMillion is tokens × price / 1,000,000, rounded up, and at most mostCost.
func perMillion(tokens, price int64) int64 {
	hi, lo := bits.Mul64(uint64(max(tokens, 0)), uint64(price))
	if hi >= 1_000_000 {
		return mostCost * 1_000_000
	}
	q, r := bits.Div64(hi, lo, 1_000_000)
	if r > 0 {
		q++
	}
	return int64(min(q, mostCost*1_000_000))
}
