package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vouchsafe/vouchsafe/attest/collateral"
)

// The metrics of collateral. Their labels are vendors, types of items and results, all of which package collateral lists.
var (
	collateralItems = prometheus.NewDesc("vouchsafe_collateral_items",
		"Items of collateral at hand, by vendor and type.", []string{"vendor", "type"}, nil)
	collateralExpires = prometheus.NewDesc("vouchsafe_collateral_expires_seconds",
		"Seconds until the first item at hand of a vendor expires or its next is due; negative when that is past.", []string{"vendor"}, nil)
	collateralWanted = prometheus.NewDesc("vouchsafe_collateral_wanted",
		"Items that evidence needs or that are always wanted and that are not at hand, by vendor.", []string{"vendor"}, nil)
	collateralFailing = prometheus.NewDesc("vouchsafe_collateral_failing",
		"Items at hand that should have been made newer and could not be, by vendor.", []string{"vendor"}, nil)
	collateralFetches = prometheus.NewDesc("vouchsafe_collateral_fetches_total",
		"Requests to vendors, by vendor and result; the result shared is an item that another replica had.", []string{"vendor", "result"}, nil)
)

// WatchCollateral adds metrics of the collateral at hand. now is the time by which items expire.
func (m *Metrics) WatchCollateral(c *collateral.Manager, now func() time.Time) {
	m.registry.MustRegister(&collateralCollector{c, now})
}

// collateralCollector asks the manager at each scrape, so that nothing is counted twice or late.
type collateralCollector struct {
	manager *collateral.Manager
	now     func() time.Time
}

// Describe implements prometheus.Collector.
func (c *collateralCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{collateralItems, collateralExpires, collateralWanted, collateralFailing, collateralFetches} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collateralCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, s := range c.manager.Stats() {
		vendor := string(s.Vendor)
		for _, t := range collateral.Types(s.Vendor) {
			gauge(collateralItems, float64(s.Items[t]), vendor, string(t))
		}
		if !s.Expires.IsZero() {
			gauge(collateralExpires, s.Expires.Sub(c.now()).Seconds(), vendor)
		}
		gauge(collateralWanted, float64(s.Wanted), vendor)
		gauge(collateralFailing, float64(s.Failing), vendor)
		for result, n := range s.Fetches {
			out <- prometheus.MustNewConstMetric(collateralFetches, prometheus.CounterValue, float64(n), vendor, string(result))
		}
	}
}
