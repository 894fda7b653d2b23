package examples_test

import "testing"

// TestGitOps follows examples/gitops: a development broker, and what CI runs on a branch and on main.
func TestGitOps(t *testing.T) {
	need(t, "bash", "jq")
	newPage(t, "gitops", nil, "8443", freePort(t)).follow()
}
