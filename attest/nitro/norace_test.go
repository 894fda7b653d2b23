//go:build !race

package nitro

const stride = 1
