//go:build unix && race

package node_test

// slower is how much longer the clients of a test take with the race detector.
const slower = 4
