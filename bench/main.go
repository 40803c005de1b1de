// Command bench compares Sallyport with a direct connection and with
// PgBouncer, on real servers that it starts itself, and prints one table.
// Runs are interleaved, so that a machine that changes speed changes it for
// all three; figures are medians and quartiles, and ratios to PgBouncer (for
// pgbench) or to direct (for rows).
//
//	make bench
//	bin/bench -samples 7 -seconds 5
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	samples := flag.Int("samples", 5, "samples of each figure")
	seconds := flag.Int("seconds", 3, "seconds of each pgbench sample")
	scale := flag.Int("scale", 10, "pgbench's scale factor")
	rows := flag.Int("rows", 1_000_000, "rows of the large SELECT")
	binary := flag.String("sallyport", "bin/sallyport", "the binary to measure")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *samples, *seconds, *scale, *rows, *binary); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, samples, seconds, scale, rows int, binary string) error {
	ways, end, err := start(ctx, scale, rows, binary)
	if err != nil {
		return err
	}
	defer end()

	var figures []figure
	for _, clients := range []int{1, 16} {
		for _, mode := range []string{"simple", "extended", "prepared"} {
			figures = append(figures, figure{
				name: fmt.Sprintf("pgbench -S -M %s -c %d", mode, clients), unit: "tps", against: "pgbouncer",
				measure: func(w way) (float64, error) { return pgbench(ctx, w, mode, clients, seconds) },
			})
		}
	}
	for _, q := range rowQueries(rows) {
		figures = append(figures, figure{
			name: q.name, unit: "rows/s", against: "direct",
			measure: func(w way) (float64, error) { return readRows(ctx, w, q, rows) },
		})
	}

	for i := range figures {
		f := &figures[i]
		f.values = map[string][]float64{}
		for s := range samples {
			for k := range ways {
				w := ways[(k+s)%len(ways)] // no way is always the first
				v, err := f.measure(w)
				if err != nil {
					return fmt.Errorf("%s through %s: %w", f.name, w.name, err)
				}
				f.values[w.name] = append(f.values[w.name], v)
			}
		}
		fmt.Fprintf(os.Stderr, "%s  %d/%d  %s\n", time.Now().Format(time.TimeOnly), i+1, len(figures), f.name)
	}
	return print(figures, ways)
}

// figure is one line of the table.
type figure struct {
	name    string
	unit    string
	against string
	measure func(way) (float64, error)
	values  map[string][]float64 // by way
}

func print(figures []figure, ways []way) error {
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "figure\tunit")
	for _, w := range ways {
		fmt.Fprintf(tw, "\t%s (q1 median q3)", w.name)
	}
	fmt.Fprintln(tw, "\tsallyport / base (median, upper quartile)")
	for _, f := range figures {
		fmt.Fprintf(tw, "%s\t%s", f.name, f.unit)
		for _, w := range ways {
			v := f.values[w.name]
			fmt.Fprintf(tw, "\t%.0f  %.0f  %.0f", quantile(v, 0.25), quantile(v, 0.5), quantile(v, 0.75))
		}
		ours, base := f.values["sallyport"], f.values[f.against]
		fmt.Fprintf(tw, "\t%.2f  %.2f of %s\n", quantile(ours, 0.5)/quantile(base, 0.5), quantile(ours, 0.75)/quantile(base, 0.5), f.against)
	}
	return tw.Flush()
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
