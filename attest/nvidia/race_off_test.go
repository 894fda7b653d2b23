//go:build !race

package nvidia

import "github.com/vouchsafe/vouchsafe/internal/mutate"

// stride is how many bytes of evidence tests that change every one go on each time: one in the acceptance run.
var stride = mutate.Stride(7)
