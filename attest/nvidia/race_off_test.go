//go:build !race

package nvidia

// stride is how far apart the bytes are that tests flip one by one.
const stride = 1
