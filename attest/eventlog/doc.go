// Package eventlog verifies TCG event logs against quoted PCR values.
package eventlog
