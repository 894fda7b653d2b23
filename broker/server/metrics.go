package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
)

// Metrics counts what a broker does. Labels have few values, all from the program and none from a request: kinds, protocols, outcomes,
// codes and routes. It implements broker.Observer.
type Metrics struct {
	registry   *prometheus.Registry
	attested   *prometheus.HistogramVec
	judged     *prometheus.HistogramVec
	unrecorded *prometheus.CounterVec
	requests   *prometheus.HistogramVec
	inFlight   prometheus.Gauge
	panics     prometheus.Counter
	asked      *prometheus.HistogramVec
	ended      *prometheus.CounterVec
	glass      prometheus.Counter
}

var (
	_ broker.Observer       = (*Metrics)(nil)
	_ broker.SourceObserver = (*Metrics)(nil)
	_ broker.GlassObserver  = (*Metrics)(nil)
)

// buckets reach from a policy decision to a client that is about to give up, in seconds.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// NewMetrics returns metrics at zero, with those of the Go runtime and the process.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		attested: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vouchsafe_attestation_seconds", Buckets: buckets,
			Help: "Time to judge evidence, by protocol, kind and result; the result is accepted or an error code.",
		}, []string{"protocol", "kind", "result"}),
		judged: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vouchsafe_release_seconds", Buckets: buckets,
			Help: "Time to decide, wrap and record a request for secrets, by protocol and outcome.",
		}, []string{"protocol", "outcome"}),
		unrecorded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vouchsafe_unrecorded_refusals_total",
			Help: "Evidence refused without a record, because refusals came faster than they are recorded.",
		}, []string{"kind"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vouchsafe_http_request_seconds", Buckets: buckets,
			Help: "Time to answer HTTP requests, by route, method and status.",
		}, []string{"route", "method", "status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vouchsafe_http_requests_in_flight", Help: "HTTP requests being answered now.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vouchsafe_http_panics_total", Help: "Requests that ended in a bug of this program.",
		}),
	}
	m.asked, m.ended = sourceMetrics()
	m.glass = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "vouchsafe_break_glass_total", Help: "Changes of what judges requests that were made by break-glass.",
	})
	m.registry.MustRegister(m.attested, m.judged, m.unrecorded, m.requests, m.inFlight, m.panics, m.asked, m.ended, m.glass,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Watch adds gauges of a broker's log: its size, and the appends that wait.
func (m *Metrics) Watch(b *broker.Broker) {
	m.watchIssued(b)
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vouchsafe_audit_entries", Help: "Entries in the audit log.",
		}, func() float64 { return float64(b.Log().Size()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vouchsafe_audit_pending", Help: "Appends that wait for the next batch of the audit log.",
		}, func() float64 { return float64(b.Log().Pending()) }))
}

// Attested implements broker.Observer.
func (m *Metrics) Attested(p broker.Protocol, kind attest.Kind, result string, took time.Duration) {
	m.attested.WithLabelValues(string(p), knownKind(kind), result).Observe(took.Seconds())
}

// Judged implements broker.Observer.
func (m *Metrics) Judged(p broker.Protocol, outcome broker.Outcome, took time.Duration) {
	m.judged.WithLabelValues(string(p), string(outcome)).Observe(took.Seconds())
}

// Unrecorded implements broker.Observer.
func (m *Metrics) Unrecorded(kind attest.Kind) {
	m.unrecorded.WithLabelValues(knownKind(kind)).Inc()
}

// BrokeGlass implements broker.GlassObserver.
func (m *Metrics) BrokeGlass() { m.glass.Inc() }

// knownKind keeps a kind that a request made up from becoming a label.
func knownKind(kind attest.Kind) string {
	for _, k := range attest.Kinds() {
		if k == kind {
			return string(k)
		}
	}
	return "other"
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// observe records one answered request. The route is the mux's pattern, never the path, and unknown methods are one.
func (m *Metrics) observe(r *http.Request, status int, took time.Duration) {
	route, method := r.Pattern, r.Method
	if route == "" {
		route = "none"
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		// For CONNECT the mux may call the path itself the pattern.
		route, method = "none", "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}
