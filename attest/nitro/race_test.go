//go:build race

package nitro

// stride is how many bytes of evidence tests that change every one go on each time. Under the race detector the arithmetic of P-384 takes ten times as
// long or more, and all its accesses to memory are the same each time.
const stride = 17
