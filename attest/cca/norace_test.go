//go:build !race

package cca

const stride = 1
