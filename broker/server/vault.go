package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// The metrics of the connection to Vault. Their labels are classes of requests and results, which package vaultconn lists.
var (
	vaultUp = prometheus.NewDesc("vouchsafe_vault_up",
		"1 while the last request was answered by a Vault that serves, and there is a token.", nil, nil)
	vaultExpires = prometheus.NewDesc("vouchsafe_vault_token_expires_seconds",
		"Seconds until the token ends; negative when it has. Not there for a token that does not end, or none.", nil, nil)
	vaultLogins   = prometheus.NewDesc("vouchsafe_vault_logins_total", "Logins, by result: ok or failed.", []string{"result"}, nil)
	vaultRenewals = prometheus.NewDesc("vouchsafe_vault_renewals_total",
		"Renewals of the token that brought more time.", nil, nil)
	vaultInFlight = prometheus.NewDesc("vouchsafe_vault_requests_in_flight", "Requests to Vault under way.", nil, nil)
	vaultAhead    = prometheus.NewDesc("vouchsafe_vault_clock_ahead_seconds",
		"Seconds by which the broker's clock is ahead of Vault's, to a second or two; negative when it is behind.", nil, nil)
	vaultWaiting = prometheus.NewDesc("vouchsafe_vault_requests_waiting", "Requests to Vault that wait for their turn.", nil, nil)
)

// WatchVault adds metrics of a connection to Vault, and has it tell of its requests. now is the time by which the token ends. A Metrics watches one
// connection.
func (m *Metrics) WatchVault(c *vaultconn.Conn, now func() time.Time) {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "vouchsafe_vault_request_seconds", Buckets: buckets,
		Help: "Time of requests to Vault, with their wait for a turn, by class and result.",
	}, []string{"class", "result"})
	m.registry.MustRegister(requests, &vaultCollector{c, now})
	c.Observe(vaultRequests{requests})
}

// WatchStore adds a gauge of whether a store that brokers share is lost, by what says so without asking the store.
func (m *Metrics) WatchStore(lost func() error) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "vouchsafe_store_lost", Help: "1 while the store is gone from its place or another is there: nothing is released until its data is restored.",
	}, func() float64 {
		if lost() != nil {
			return 1
		}
		return 0
	}))
}

// vaultRequests implements vaultconn.Observer.
type vaultRequests struct{ seconds *prometheus.HistogramVec }

// VaultRequest implements vaultconn.Observer.
func (r vaultRequests) VaultRequest(class, result string, took time.Duration) {
	r.seconds.WithLabelValues(class, result).Observe(took.Seconds())
}

// vaultCollector asks the connection at each scrape; Vault is not asked.
type vaultCollector struct {
	conn *vaultconn.Conn
	now  func() time.Time
}

// Describe implements prometheus.Collector.
func (c *vaultCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{vaultUp, vaultExpires, vaultLogins, vaultRenewals, vaultInFlight, vaultWaiting, vaultAhead} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *vaultCollector) Collect(out chan<- prometheus.Metric) {
	s := c.conn.Status()
	gauge := func(d *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	up := 0.0
	if s.Up && s.LoggedIn {
		up = 1
	}
	gauge(vaultUp, up)
	if !s.Expires.IsZero() {
		gauge(vaultExpires, s.Expires.Sub(c.now()).Seconds())
	}
	if at, known := c.conn.Clock(); known {
		gauge(vaultAhead, c.now().Sub(at).Seconds())
	}
	gauge(vaultInFlight, float64(s.InFlight))
	gauge(vaultWaiting, float64(s.Waiting))
	out <- prometheus.MustNewConstMetric(vaultLogins, prometheus.CounterValue, float64(s.Logins), "ok")
	out <- prometheus.MustNewConstMetric(vaultLogins, prometheus.CounterValue, float64(s.FailedLogins), "failed")
	out <- prometheus.MustNewConstMetric(vaultRenewals, prometheus.CounterValue, float64(s.Renewals))
}
