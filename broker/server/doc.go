// Package server puts a broker on the network: one listener for both protocols, metrics and health, with limits on everything that a stranger can
// make it hold.
//
// TLS is 1.3 and on unless plain HTTP was asked for by name, which only makes sense on loopback or behind a proxy on the same
// machine, and is refused elsewhere. The certificate is read again when its files change, so that renewing it needs no restart; a pair that
// does not fit leaves the old one in use and is reported.
//
// # Limits
//
// Connections, header sizes and each phase of a request have limits, as constants with their reasons. Bodies are bounded by package
// intake. A handler that panics ends its own request with 500, a log line and a metric.
//
// # Ending
//
// When its context ends the server refuses new connections, closes those that wait for a request, lets requests in hand finish for
// ShutdownGrace, and then closes what is left.
//
// # Paths of its own
//
//	/healthz   200 while the process serves
//	/readyz    200 while the broker could release: rules readable, log writable; else 503 with what is wrong
//	/metrics   Prometheus text; its labels are of bounded sets and name no secret
package server
