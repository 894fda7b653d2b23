// Package sgx appraises Intel SGX quotes.
package sgx
