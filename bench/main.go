// Command bench compares Sallyport with a direct connection and with
// PgBouncer or, before MariaDB, HAProxy, on real servers that it starts itself,
// and with nginx before a vector store's fixed answers, and prints tables. Runs are interleaved, so
// that a machine that changes speed changes it for all three; figures are
// medians and quartiles, and ratios to PgBouncer (for pgbench), to HAProxy (for
// sysbench), to direct (for rows) or to nginx (for HTTP). Beside them stand what the proxies'
// processes cost a transaction, memory, many sessions, and the Go
// micro-benchmarks against another revision.
//
//	make bench
//	bin/bench -quick
//	bin/bench -only 'c 16|COPY' -samples 9
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"time"
)

// options are the command line's.
type options struct {
	samples, seconds, few int
	scale, rows, long     int
	at, idle, points      int
	binary, against       string
	only                  *regexp.Regexp
}

func main() {
	var o options
	quick := flag.Bool("quick", false, "small sizes and few samples: whether it works, not how fast it is")
	flag.IntVar(&o.samples, "samples", 7, "samples of each figure")
	flag.IntVar(&o.seconds, "seconds", 5, "seconds of each pgbench and sysbench sample with 16 clients")
	flag.IntVar(&o.few, "few", 1, "seconds of each pgbench and sysbench sample with 1 client")
	flag.IntVar(&o.scale, "scale", 10, "pgbench's scale factor; sysbench's table has 10,000 rows for each")
	flag.IntVar(&o.rows, "rows", 1_000_000, "rows of the large results")
	flag.IntVar(&o.long, "long", 10_000_000, "rows of the result that a slow reader reads")
	flag.IntVar(&o.at, "connections", 1000, "sessions that connect and work at once")
	flag.IntVar(&o.idle, "idle", 10_000, "idle sessions")
	flag.IntVar(&o.points, "points", 10_000, "points of a scroll")
	flag.StringVar(&o.binary, "sallyport", "bin/sallyport", "the binary to measure")
	flag.StringVar(&o.against, "against", "", "the revision that the micro-benchmarks are compared with (HEAD~1, or HEAD where files have changed)")
	only := flag.String("only", "", "a regular expression of the figures to take")
	flag.Parse()
	if *quick {
		o.samples, o.seconds, o.few, o.rows, o.long, o.at, o.idle = 2, 1, 1, 200_000, 1_000_000, 100, 300
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(os.Stderr, "bench: -only:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	descriptors := raiseDescriptors()
	fmt.Printf("%d processors, %s, %d samples of %d s (1 client: %d s), %s\n", runtime.NumCPU(), runtime.Version(), o.samples, o.seconds, o.few, time.Now().Format(time.DateOnly))
	if err := databases(ctx, o, descriptors); err != nil {
		return err
	}
	if err := mysqls(ctx, o); err != nil {
		return err
	}
	if err := vectors(ctx, o); err != nil {
		return err
	}
	return o.parts([]part{{"micro", func() ([]string, error) { return micro(ctx, min(o.samples, 7), o.against) }}})
}

// databases measures what goes to PostgreSQL.
func databases(ctx context.Context, o options, descriptors int) error {
	var s *servers
	return o.section(append(pgbenchFigures(ctx, o), rowFigures(ctx, o)...), []part{
		{"memory", func() ([]string, error) { return slowReader(ctx, s, o.long, o.rows) }},
		{"sessions", func() ([]string, error) { return atOnce(ctx, s, o.at) }},
		{"idle", func() ([]string, error) { return idle(ctx, s, o.idle, descriptors) }},
	}, func() (ways []way, end func(), err error) {
		if s, end, err = start(ctx, o); err != nil {
			return nil, nil, err
		}
		return s.ways, end, nil
	})
}

// mysqls measures what goes to MariaDB.
func mysqls(ctx context.Context, o options) error {
	var ours way
	return o.section(mysqlFigures(ctx, o), []part{
		{"mysql memory", func() ([]string, error) { return slowMySQL(ctx, ours, o.long, o.rows) }},
	}, func() ([]way, func(), error) {
		ways, end, err := startMySQL(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		ours = ways[2]
		return ways, end, nil
	})
}

// vectors measures what goes to a vector store.
func vectors(ctx context.Context, o options) error {
	var s *stores
	return o.section(vectorFigures(o), []part{
		{"vector memory", func() ([]string, error) { return slowScroll(ctx, s.ways[2], o) }},
	}, func() (ways []way, end func(), err error) {
		if s, end, err = startStores(ctx, o); err != nil {
			return nil, nil, err
		}
		return s.ways, end, nil
	})
}

// section starts servers where any of their figures or parts is wanted, and
// measures and prints those.
func (o options) section(all []*figure, parts []part, start func() ([]way, func(), error)) error {
	figures := o.wanted(all)
	if len(figures) == 0 && !o.wantsAny(parts) {
		return nil
	}
	ways, end, err := start()
	if err != nil {
		return err
	}
	defer end()
	if err := measure(figures, ways, o.samples); err != nil {
		return err
	}
	fmt.Println()
	if err := printFigures(figures, ways); err != nil {
		return err
	}
	return o.parts(parts)
}

// part is something measured once.
type part struct {
	name string
	run  func() ([]string, error)
}

func (o options) wantsAny(parts []part) bool {
	return slices.ContainsFunc(parts, func(p part) bool { return o.only.MatchString(p.name) })
}

// parts runs those that are wanted, and prints what they say.
func (o options) parts(parts []part) error {
	for _, p := range parts {
		if !o.only.MatchString(p.name) {
			continue
		}
		lines, err := p.run()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		progress("%s", p.name)
		fmt.Println()
		for _, l := range lines {
			fmt.Println(l)
		}
	}
	return nil
}

func (o options) wanted(all []*figure) (out []*figure) {
	for _, f := range all {
		if o.only.MatchString(f.name) {
			out = append(out, f)
		}
	}
	return out
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
