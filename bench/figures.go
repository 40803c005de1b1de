package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
)

// figure is one line of the table.
type figure struct {
	name    string
	unit    string
	against string
	bar     float64 // that the upper quartile is to reach of against's median, 0 for none
	measure func(way) (value float64, transactions int64, err error)
	values  map[string][]float64 // by way
	cpu     map[string][]float64 // microseconds of the proxy's process a transaction
}

func pgbenchFigures(ctx context.Context, o options) (out []*figure) {
	bars := map[string]float64{"simple": 0.65, "extended": 0.70, "prepared": 0.75}
	for _, clients := range []int{1, 16} {
		for _, mode := range []string{"simple", "extended", "prepared"} {
			f := &figure{name: fmt.Sprintf("pgbench -S -M %s -c %d", mode, clients), unit: "tps", against: "pgbouncer"}
			seconds := o.few
			if clients > 1 {
				f.bar, seconds = bars[mode], o.seconds
			}
			f.measure = func(w way) (float64, int64, error) { return pgbench(ctx, w, mode, clients, seconds) }
			out = append(out, f)
		}
	}
	return out
}

func rowFigures(ctx context.Context, o options) (out []*figure) {
	for _, q := range []struct {
		name, sql string
		copy      bool
		bar       float64
	}{
		{"SELECT of %d rows, 5 columns", "SELECT id, a, b, c, plain FROM wide", false, 0.9},
		{"SELECT of %d rows, 1 of 5 masked", "SELECT id, a, b, c, classed FROM wide", false, 0.6},
		{"COPY TO of %d rows, 5 columns", "COPY (SELECT id, a, b, c, plain FROM wide) TO STDOUT", true, 0.85},
	} {
		read := readRows
		if q.copy {
			read = copyRows
		}
		out = append(out, &figure{
			name: fmt.Sprintf(q.name, o.rows), unit: "rows/s", against: "direct", bar: q.bar,
			measure: func(w way) (float64, int64, error) {
				v, err := read(ctx, w, q.sql, o.rows)
				return v, 0, err
			},
		})
	}
	return out
}

// measure takes the samples, each way in turn.
func measure(figures []*figure, ways []way, samples int) error {
	for i, f := range figures {
		f.values, f.cpu = map[string][]float64{}, map[string][]float64{}
		for s := range samples {
			for k := range ways {
				w := ways[(k+s)%len(ways)] // no way is always the first
				before := w.cpu()
				v, n, err := f.measure(w)
				if err != nil {
					return fmt.Errorf("%s through %s: %w", f.name, w.name, err)
				}
				f.values[w.name] = append(f.values[w.name], v)
				if n > 0 && w.pid > 0 {
					f.cpu[w.name] = append(f.cpu[w.name], (w.cpu()-before)*1e6/float64(n))
				}
			}
		}
		progress("%d/%d  %s", i+1, len(figures), f.name)
	}
	return nil
}

func printFigures(figures []*figure, ways []way) error {
	if len(figures) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "figure\tunit")
	for _, w := range ways {
		fmt.Fprintf(tw, "\t%s (q1 median q3)", w.name)
	}
	fmt.Fprintln(tw, "\tsallyport / base (median, upper quartile)\tbar\tCPU µs a transaction: "+ways[1].name+", sallyport")
	for _, f := range figures {
		fmt.Fprintf(tw, "%s\t%s", f.name, f.unit)
		for _, w := range ways {
			v := f.values[w.name]
			fmt.Fprintf(tw, "\t%.0f  %.0f  %.0f", quantile(v, 0.25), quantile(v, 0.5), quantile(v, 0.75))
		}
		ours, base := f.values["sallyport"], f.values[f.against]
		upper := quantile(ours, 0.75) / quantile(base, 0.5)
		fmt.Fprintf(tw, "\t%.2f  %.2f of %s\t%s", quantile(ours, 0.5)/quantile(base, 0.5), upper, f.against, verdict(upper, f.bar))
		if c := f.cpu["sallyport"]; len(c) > 0 {
			fmt.Fprintf(tw, "\t%.0f  %.0f", quantile(f.cpu[ways[1].name], 0.5), quantile(c, 0.5))
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

func verdict(got, bar float64) string {
	switch {
	case bar == 0:
		return ""
	case got >= bar:
		return fmt.Sprintf("%.2f reached", bar)
	}
	return fmt.Sprintf("%.2f MISSED by %.2f", bar, bar-got)
}

// quantile interpolates between the sorted samples.
func quantile(values []float64, q float64) float64 {
	v := slices.Clone(values)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 >= len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}
