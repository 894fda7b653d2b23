//go:build race

package rim_test

// stride is how far apart the bytes are that tests flip one by one: the race detector makes signature checks ten times as slow, and
// finds nothing in them.
const stride = 16
