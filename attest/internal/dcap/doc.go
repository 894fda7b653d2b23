// Package dcap appraises quotes.
package dcap
