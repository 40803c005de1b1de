package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// readExpectations reads a file of `replay check --expect`; none without a path.
func readExpectations(path string) ([]replay.Expected, error) {
	if path == "" {
		return nil, nil
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fail(fmt.Errorf("reading what to expect: %w", err), "")
	}
	var out []replay.Expected
	file, root := strictyaml.Parse(filepath.Base(path), src)
	if root != nil {
		root.Map(map[string]func(*strictyaml.Node){
			"version": func(n *strictyaml.Node) { n.Int(1, 1) },
			"expect": func(n *strictyaml.Node) {
				for _, e := range n.List() {
					out = append(out, readExpected(e))
				}
			},
		})
		if len(out) == 0 {
			root.Problem("key \"expect\" is missing or empty")
		}
	}
	if err := file.Err(); err != nil {
		return nil, broken(err)
	}
	return out, nil
}

func readExpected(n *strictyaml.Node) replay.Expected {
	var x replay.Expected
	n.Map(map[string]func(*strictyaml.Node){
		"change": func(n *strictyaml.Node) {
			if list, err := changesNamed([]string{n.OneOf(changeNames(replay.Changes)...)}); err == nil {
				x.Change = list[0]
			}
		},
		"rule":  func(n *strictyaml.Node) { x.Rule = n.String() },
		"shape": func(n *strictyaml.Node) { x.Shape = n.String() },
		"count": func(n *strictyaml.Node) { x.Count = int(n.Int(1, math.MaxInt32)) },
	})
	if x.Change == "" {
		n.Problem("key \"change\" is missing")
	}
	return x
}
