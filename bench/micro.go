package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// micros are the Go benchmarks of the hot path.
var micros = []struct{ name, pkg, bench string }{
	{"relay a row of 5 columns", "./protocols/postgres", "BenchmarkRelay"},
	{"the same, one masked", "./protocols/postgres", "BenchmarkMaskRow"},
	{"a prepared statement on PostgreSQL's wire", "./protocols/postgres", "BenchmarkPrepared"},
	{"the same with a Parse before it", "./protocols/postgres", "BenchmarkExtended"},
	{"decide over two rules", "./sqlpolicy", "BenchmarkDecide"},
	{"record a statement, its row and end", "./replay", "BenchmarkStatement"},
	{"a known statement with new constants", "./proxy", "BenchmarkAnalyse"},
	{"the same in MySQL's dialect", "./proxy", "BenchmarkAnalyseMySQL"},
	{"rewrite an answer of 10,000 points", "./protocols/vector", "BenchmarkRewrite"},
	{"read a request with a vector of 384", "./protocols/internal/httpgate", "BenchmarkParseJSON"},
}

// regression is what is told: a benchmark that needs so much more.
const regression = 1.05

// micro runs the benchmarks of this tree and of another revision in turn, so
// that the machine is the same for both, and compares medians.
func micro(ctx context.Context, samples int, against string) ([]string, error) {
	if against == "" {
		against = "HEAD~1"
		if out, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "-uno").Output(); err == nil && len(out) > 0 {
			against = "HEAD"
		}
	}
	dir, err := os.MkdirTemp("", "sallyport-micro-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	then := filepath.Join(dir, "then")
	lines := []string{fmt.Sprintf("Go benchmarks, medians of %d, against %s:", samples, against)}
	if out, err := exec.CommandContext(ctx, "git", "worktree", "add", "--detach", then, against).CombinedOutput(); err != nil {
		lines = append(lines, "NOT COMPARED: "+strings.TrimSpace(string(out)))
		then = ""
	} else {
		defer func() { _ = exec.Command("git", "worktree", "remove", "--force", then).Run() }()
	}
	for i, m := range micros {
		var runs [2][]result
		for k, tree := range []string{".", then} {
			if tree == "" {
				continue
			}
			binary := filepath.Join(dir, fmt.Sprintf("%d-%d.test", i, k))
			build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-o", binary, m.pkg)
			build.Dir = tree
			if out, err := build.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("building %s: %w\n%s", m.pkg, err, out)
			}
		}
		for range samples {
			for k, tree := range []string{".", then} {
				if tree == "" {
					continue
				}
				r, err := runBenchmark(ctx, filepath.Join(tree, m.pkg), filepath.Join(dir, fmt.Sprintf("%d-%d.test", i, k)), m.bench)
				if errors.Is(err, errNoBenchmark) && k == 1 {
					break // new here
				}
				if err != nil {
					return nil, err
				}
				runs[k] = append(runs[k], r)
			}
		}
		lines = append(lines, compare(m.name, runs[0], runs[1]))
	}
	return lines, nil
}

type result struct{ ns, bytes, allocs float64 }

var (
	benchLine      = regexp.MustCompile(`(?m)^Benchmark\S*\s+\d+\s+([0-9.]+) ns/op(?:.*?\s([0-9.]+) B/op\s+([0-9.]+) allocs/op)?`)
	errNoBenchmark = errors.New("no such benchmark")
)

func runBenchmark(ctx context.Context, dir, binary, name string) (result, error) {
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", "^"+name+"$", "-test.benchtime", "200ms", "-test.benchmem")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	m := benchLine.FindSubmatch(out)
	if m == nil {
		return result{}, fmt.Errorf("%s: %w", name, errNoBenchmark)
	}
	var v [3]float64
	for i := range v {
		v[i], _ = strconv.ParseFloat(string(m[i+1]), 64)
	}
	return result{v[0], v[1], v[2]}, nil
}

func compare(name string, now, then []result) string {
	median := func(rs []result, of func(result) float64) float64 {
		var v []float64
		for _, r := range rs {
			v = append(v, of(r))
		}
		return quantile(v, 0.5)
	}
	ns := func(r result) float64 { return r.ns }
	allocs := func(r result) float64 { return r.allocs }
	line := fmt.Sprintf("  %-40s %8.0f ns  %3.0f allocations", name, median(now, ns), median(now, allocs))
	if len(then) == 0 {
		return line + "  (nothing to compare with)"
	}
	ratio := median(now, ns) / median(then, ns)
	line += fmt.Sprintf("  was %8.0f ns  %3.0f  ratio %.2f", median(then, ns), median(then, allocs), ratio)
	if ratio > regression || median(now, allocs) > median(then, allocs)*regression {
		line += "  REGRESSION"
	}
	return line
}
