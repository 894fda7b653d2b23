package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vouchsafe/vouchsafe/broker"
)

// sourceMetrics tell of secrets whose values lie elsewhere. Kinds are those of configured sources, results and codes are few words of the program.
func sourceMetrics() (asked *prometheus.HistogramVec, ended *prometheus.CounterVec) {
	asked = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "vouchsafe_source_seconds", Buckets: buckets,
		Help: "Time to ask a source for a value, by the source's kind and result; the result is answered or why there is no value.",
	}, []string{"kind", "result"})
	ended = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vouchsafe_source_ended_total",
		Help: "What sources issued and is ended, by the source's kind and result: revoked; expired; failed, which is tried again; unknown, which is left to end by itself.",
	}, []string{"kind", "result"})
	return asked, ended
}

// Asked implements broker.SourceObserver.
func (m *Metrics) Asked(kind, code string, took time.Duration) {
	m.asked.WithLabelValues(kind, code).Observe(took.Seconds())
}

// Ended implements broker.SourceObserver.
func (m *Metrics) Ended(kind, result string) { m.ended.WithLabelValues(kind, result).Inc() }

// watchIssued adds gauges of what sources issued.
func (m *Metrics) watchIssued(b *broker.Broker) {
	gauge := func(name, help string, value func() int) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	gauge("vouchsafe_source_issued", "What sources issued and has not ended yet.", func() int { kept, _ := b.Issued(); return kept })
	gauge("vouchsafe_source_ending", "What sources issued and is being ended.", func() int { _, ending := b.Issued(); return ending })
}
