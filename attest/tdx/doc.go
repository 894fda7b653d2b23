// Package tdx appraises Intel TDX quotes.
package tdx
