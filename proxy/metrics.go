package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the engine's, in a registry of its own.
type metrics struct {
	registry   *prometheus.Registry
	sessions   *prometheus.GaugeVec
	logins     *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	statements *prometheus.CounterVec
	decisions  *prometheus.HistogramVec
	durations  *prometheus.HistogramVec
	rows       *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	catalogs   *prometheus.CounterVec
	reloads    *prometheus.CounterVec
	waiting    *prometheus.GaugeVec
	unrecorded prometheus.Counter
	unshipped  prometheus.Counter
	panics     prometheus.Counter
	caught     prometheus.Counter
}

func newMetrics() *metrics {
	r := prometheus.NewRegistry()
	f := promauto.With(r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_" + name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "sallyport_" + name, Help: help})
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Name: "sallyport_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(10e-6, 4, 11)}, []string{"target"})
	}
	return &metrics{
		registry:   r,
		sessions:   f.NewGaugeVec(prometheus.GaugeOpts{Name: "sallyport_sessions", Help: "Open sessions."}, []string{"target"}),
		logins:     counter("logins_total", "Logins, by outcome.", "target", "outcome"),
		refusals:   counter("upstream_logins_refused_total", "Times that an upstream refused the proxy's credential, and it was read anew.", "target"),
		statements: counter("statements_total", "Units decided, by verdict.", "target", "verdict"),
		decisions:  histogram("decision_seconds", "Time from a unit's arrival to its decision, recorded."),
		durations:  histogram("statement_seconds", "Time from a statement's arrival to its end."),
		rows:       counter("rows_total", "Rows sent to clients.", "target"),
		bytes:      counter("row_bytes_total", "Bytes of rows as they came from the upstream.", "target"),
		catalogs:   counter("catalog_loads_total", "How often a schema was read.", "target"),
		reloads:    counter("reloads_total", "Reloads of policy and configuration, by outcome.", "outcome"),
		waiting:    f.NewGaugeVec(prometheus.GaugeOpts{Name: "sallyport_holds_waiting", Help: "Statements that wait for approval."}, []string{"target"}),
		unshipped:  single("ship_failures_total", "Times that transcripts could not be put into their bucket; they stay in the spool."),
		unrecorded: single("record_failures_total", "Statements refused because they could not be recorded."),
		panics:     single("panics_total", "Sessions ended by a panic."),
		caught:     single("origin_checks_failed_total", "Results stopped because a classed column was about to leave unmasked."),
	}
}

// counts are the metrics that each statement of a target moves, looked up
// once.
type counts struct {
	allowed, denied       prometheus.Counter
	rows, bytes           prometheus.Counter
	decisions, statements prometheus.Observer
}

func (m *metrics) of(target string) *counts {
	return &counts{
		allowed: m.statements.WithLabelValues(target, "allow"), denied: m.statements.WithLabelValues(target, "deny"),
		rows: m.rows.WithLabelValues(target), bytes: m.bytes.WithLabelValues(target),
		decisions: m.decisions.WithLabelValues(target), statements: m.durations.WithLabelValues(target),
	}
}

func (c *counts) decided(allowed bool, took time.Duration) {
	if allowed {
		c.allowed.Inc()
	} else {
		c.denied.Inc()
	}
	c.decisions.Observe(took.Seconds())
}

func (c *counts) ended(rows, bytes int64, took time.Duration) {
	c.statements.Observe(took.Seconds())
	if rows > 0 {
		c.rows.Add(float64(rows))
		c.bytes.Add(float64(bytes))
	}
}
