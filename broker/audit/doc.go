// Package audit is the tamper-evident log without whose entry nothing is released.
package audit
